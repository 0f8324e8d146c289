local name = os.tmpname()
local f = assert(io.open(name, "w"))
for i = 1, 1000 do f:write(i, "\n") end
f:close()
local sum = 0
for line in io.lines(name) do sum = sum + tonumber(line) end
os.remove(name)
print("sum", sum)
print("pipe", io.popen("echo through"):read("l"))
print(("%5.2f|%q"):format(math.pi, "a\nb"))
local co = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
print(co(), co(), co())
