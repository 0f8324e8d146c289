"""Threads, and processes by fork and by spawn."""
import multiprocessing
import threading


def square(n):
    return n * n


if __name__ == "__main__":
    total = []
    threads = [threading.Thread(target=lambda n=n: total.append(square(n))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("threads", sum(total))
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(3) as pool:
            print(method, sum(pool.map(square, range(20))))
