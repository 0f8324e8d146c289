require "json"
require "digest"
require "set"
require "open3"
require "tmpdir"
require "socket"
puts JSON.generate({ "a" => [1, nil, true] })
puts Digest::SHA256.hexdigest("x").size
puts 8.times.map { |i| Thread.new { i * i } }.sum(&:value)
puts Open3.capture2("cat", stdin_data: "piped")[0]
Dir.mktmpdir { |d| File.write("#{d}/f", "x" * 1000); puts File.size("#{d}/f") }
server = TCPServer.new("127.0.0.1", 0)
client = TCPSocket.new("127.0.0.1", server.addr[1])
server.accept.tap { |s| s.puts "hello"; s.close }
puts client.gets
pid = fork { exit 4 }
Process.wait(pid)
puts $?.exitstatus
