package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println("child", os.Args[1])
		return
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	sum := 0
	for i := 0; i < 100; i++ {
		wg.Add(1)
		go func(n int) {
			defer wg.Done()
			data, err := os.ReadFile("/etc/greeting")
			mu.Lock()
			defer mu.Unlock()
			if err == nil && string(data) == "hello\n" {
				sum += n
			}
		}(i)
	}
	wg.Wait()
	fmt.Println("sum", sum)
	out, err := exec.Command("/usr/bin/hello", "one").Output()
	fmt.Print(string(out))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "served") }))
	reply, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	text, _ := io.ReadAll(reply.Body)
	fmt.Println("http", string(text))
}
