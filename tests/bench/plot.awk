# SPDX-License-Identifier: Apache-2.0
# bench.csv (-F,) to an SVG: the ratio to native of each case and engine with its interval, on a logarithmic scale.
BEGIN {
	split("portable strict bwrap proot firejail fakechroot", order, " ")
	split("#1b7837 #2166ac #777777 #b2182b #8c510a #762a83", colours, " ")
	for (i = 1; i in order; i++) colour[order[i]] = colours[i]
	left = 150; width = 560; low = 0.5; high = 500
}
function x(v) { return left + width * log((v < low ? low : v > high ? high : v) / low) / log(high / low) }
NR > 1 && $2 != "native" && $5 != "" {
	if (!($1 in row)) { row[$1] = ++rows; name[rows] = $1 }
	n++
	at[n] = row[$1]; who[n] = $2; ratio[n] = $5; from[n] = $6; to[n] = $7
	used[$2] = 1
}
END {
	step = 20; height = rows * step + 70
	printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" font-family=\"sans-serif\" font-size=\"11\">\n", left + width + 20, height
	printf "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n"
	split("0.5 1 2 5 10 20 50 100 200 500", ticks, " ")
	for (i = 1; i in ticks; i++) {
		printf "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"30\" y2=\"%d\" stroke=\"%s\"/>\n", x(ticks[i]), x(ticks[i]), height - 35, ticks[i] == 1 ? "#000" : "#ddd"
		printf "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", x(ticks[i]), height - 20, ticks[i]
	}
	printf "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">times native (95 %% interval of the median)</text>\n", left + width / 2, height - 5
	place = left
	for (i = 1; i in order; i++) {
		if (!(order[i] in used)) continue
		printf "<circle cx=\"%d\" cy=\"15\" r=\"4\" fill=\"%s\"/><text x=\"%d\" y=\"19\">%s</text>\n", place, colour[order[i]], place + 8, order[i]
		place += 90
	}
	for (i = 1; i <= rows; i++) printf "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", left - 8, 30 + i * step, name[i]
	for (i = 1; i <= n; i++) {
		y = 26 + at[i] * step
		printf "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"%s\"/>", x(from[i]), x(to[i]), y, y, colour[who[i]]
		printf "<circle cx=\"%.1f\" cy=\"%d\" r=\"3.5\" fill=\"%s\"><title>%s %s: %s</title></circle>\n", x(ratio[i]), y, colour[who[i]], name[at[i]], who[i], ratio[i]
	}
	print "</svg>"
}
