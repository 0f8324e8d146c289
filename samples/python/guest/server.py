"""http.server as a module answers a request for a file."""
import pathlib
import subprocess
import sys
import urllib.request

pathlib.Path("page.txt").write_text("served\n")
server = subprocess.Popen([sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
try:
    port = int(server.stdout.readline().split(" port ")[1].split()[0])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/page.txt", timeout=20) as page:
        print("http", page.status, page.read().decode().strip())
finally:
    server.terminate()
    server.wait()
