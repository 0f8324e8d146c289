# SPDX-License-Identifier: Apache-2.0
# `round case engine number unit` lines to a table and -v csv=FILE: medians, and of the ratios to native of one round their median with
# the 95 % interval of a median (by order: no distribution is assumed).
{
	key = $2 SUBSEP $3
	value[key, ++count[key]] = $4
	of_round[key, $1] = $4
	unit[$2] = $5
	if (!($2 in seen)) { seen[$2] = 1; cases[++case_count] = $2 }
	if (!($3 in known)) { known[$3] = 1; engines[++engine_count] = $3 }
	if ($1 > rounds) rounds = $1
}
# Programs that people wait for, taken together: in a round, the geometric mean of their ratios.
function together(n, list, e, r, i, sum, m) {
	for (e = 1; e <= engine_count; e++)
		for (r = 1; r <= rounds; r++) {
			sum = m = 0
			for (i = 1; i <= n; i++)
				if (of_round[list[i] SUBSEP "native", r] > 0 && of_round[list[i] SUBSEP engines[e], r] > 0) {
					sum += log(of_round[list[i] SUBSEP engines[e], r] / of_round[list[i] SUBSEP "native", r])
					m++
				}
			if (m < n) continue
			of_round["programs" SUBSEP engines[e], r] = value["programs" SUBSEP engines[e], ++count["programs" SUBSEP engines[e]]] = exp(sum / n)
		}
	cases[++case_count] = "programs"
	unit["programs"] = "x"
}
function sort(list, n, i, j, x) {
	for (i = 2; i <= n; i++) {
		x = list[i]
		for (j = i - 1; j > 0 && list[j] > x; j--) list[j + 1] = list[j]
		list[j + 1] = x
	}
}
function middle(list, n) { return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2 }
function shown(v, u) {
	if (u == "x") return sprintf("%.2f", v)
	if (u != "ns") return sprintf("%.0f %s", v, u)
	return v < 1e5 ? sprintf("%.2f us", v / 1e3) : v < 1e6 ? sprintf("%.0f us", v / 1e3) : v < 1e9 ? sprintf("%.1f ms", v / 1e6) : sprintf("%.2f s", v / 1e9)
}
END {
	n = split("python git-status find gcc configure tar-in tar-out npm pip", program)
	for (i = 1; i <= n && program[i] in seen; i++) ;
	if (i > n) together(n, program)
	print "case,engine,unit,median,ratio,low,high,rounds" > csv
	printf "%-20s%-12s%14s%10s  %s\n", "case", "engine", "median", "ratio", "95 % of it"
	for (c = 1; c <= case_count; c++)
		for (e = 1; e <= engine_count; e++) {
			key = cases[c] SUBSEP engines[e]
			base = cases[c] SUBSEP "native"
			n = count[key]
			if (!n) continue
			for (i = 1; i <= n; i++) list[i] = value[key, i] + 0
			sort(list, n)
			median = middle(list, n)
			m = 0
			for (r = 1; r <= rounds; r++)
				if ((key, r) in of_round && of_round[base, r] > 0) ratio[++m] = of_round[key, r] / of_round[base, r]
			sort(ratio, m)
			k = int(m / 2 - 0.98 * sqrt(m))
			if (k < 0) k = 0
			printf "%-20s%-12s%14s", cases[c], engines[e], shown(median, unit[cases[c]])
			if (m && engines[e] != "native") printf "%10.2f  %.2f to %.2f", middle(ratio, m), ratio[k + 1], ratio[m - k]
			print ""
			if (m) printf "%s,%s,%s,%.0f,%.3f,%.3f,%.3f,%d\n", cases[c], engines[e], unit[cases[c]], median, middle(ratio, m), ratio[k + 1], ratio[m - k], n > csv
			else printf "%s,%s,%s,%.0f,,,,%d\n", cases[c], engines[e], unit[cases[c]], median, n > csv
		}
}
