package require http
set f [file tempfile name]
for {set i 0} {$i < 100} {incr i} { puts $f $i }
close $f
set f [open $name]
puts "lines [llength [split [string trim [read $f]] \n]]"
close $f
file delete $name
puts "exec [exec echo through]"
puts "clock [clock format 0 -gmt 1 -format %Y-%m-%d]"
puts "encoding [string length [encoding convertfrom utf-8 \xc3\xa9]]"
proc accept {chan addr port} { puts $chan hello; close $chan }
set s [socket -server accept -myaddr 127.0.0.1 0]
set c [socket 127.0.0.1 [lindex [fconfigure $s -sockname] 2]]
fileevent $c readable { puts "socket [gets $c]"; set done 1 }
vwait done
