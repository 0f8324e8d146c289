# SPDX-License-Identifier: Apache-2.0
# bench.csv (-F,) to a page: -v machine=TEXT, its description, -v plot=NAME, the picture's file.
function shown(v, u) {
	if (u == "x") return ""
	if (u != "ns") return sprintf("%.0f %s", v, u)
	return v < 1e5 ? sprintf("%.2f us", v / 1e3) : v < 1e6 ? sprintf("%.0f us", v / 1e3) : v < 1e9 ? sprintf("%.1f ms", v / 1e6) : sprintf("%.2f s", v / 1e9)
}
NR > 1 {
	if (!($1 in row)) { row[$1] = ++rows; name[rows] = $1 }
	if (!($2 in column) && $2 != "native") { column[$2] = ++columns; engine[columns] = $2 }
	cell[$1, $2] = $5 == "" ? shown($4, $3) : sprintf("%.2f (%.2f to %.2f)", $5, $6, $7)
	if ($2 == "native") native[$1] = shown($4, $3)
	if ($8 > rounds) rounds = $8
}
END {
	print "# Figures\n"
	printf "Written by `make bench PAGE=1`; [PERFORMANCE.md](PERFORMANCE.md) says what costs what and why. %s\n\n", machine
	printf "%d rounds, engines in turns within each. A cell is the median of the ratios to native of one round, and its 95 %% interval. " \
		"`least` is a supervisor that receives each call, reads its path and lets the kernel go on, or opens the file and hands the descriptor over: what the mechanism alone costs (tests/bench/least.c). `programs` is the geometric mean of python, git-status, find, gcc, configure, tar, npm and pip.\n\n![times native](%s)\n\n", rounds, plot
	printf "| case | native |"
	for (i = 1; i <= columns; i++) printf " %s |", engine[i]
	printf "\n|---|---|"
	for (i = 1; i <= columns; i++) printf "---|"
	print ""
	for (r = 1; r <= rows; r++) {
		printf "| %s | %s |", name[r], name[r] in native ? native[name[r]] : ""
		for (i = 1; i <= columns; i++) printf " %s |", cell[name[r], engine[i]]
		print ""
	}
}
