# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
place=disk
title='a Go program: 64 goroutines on all cores, with timers, channels and files'
prepare() {
  command -v go >/dev/null || { echo "go: not installed" && return 1; }
  cat >main.go <<'END'
package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

func main() {
	var wait sync.WaitGroup
	results := make(chan int, 64)
	for n := 0; n < 64; n++ {
		wait.Add(1)
		go func(n int) {
			defer wait.Done()
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			name := fmt.Sprintf("f%d", n)
			sum := 0
			for i := 0; i < 20; i++ {
				<-tick.C
				if os.WriteFile(name, []byte(name), 0o644) != nil {
					os.Exit(1)
				}
				text, err := os.ReadFile(name)
				if err != nil {
					os.Exit(1)
				}
				sum += len(text)
				for k := 0; k < 200000; k++ {
					sum += k & 1
				}
			}
			results <- sum
		}(n)
	}
	wait.Wait()
	if len(results) != 64 {
		os.Exit(1)
	}
}
END
  HOME=$PWD GOCACHE=$PWD/cache GOFLAGS=-mod=mod GO111MODULE=off go build -o many main.go && rm -rf cache
}
command='./many'
