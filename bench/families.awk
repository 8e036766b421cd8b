# Prints the figures of BenchmarkVerify with their ratios, each of one round.
function median(list, n,   i, j, t, a) {
	for (i = 1; i <= n; i++) a[i] = list[i]
	for (i = 2; i <= n; i++) for (j = i; j > 1 && a[j - 1] > a[j]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
	lowest = a[1]; highest = a[n]
	return a[int((n + 1) / 2)]
}
function column(family, way,   i, list) {
	for (i = 1; i <= rounds[family, way]; i++) list[i] = time[family, way, i]
	return median(list, rounds[family, way])
}
function ratio(family, over, under,   i, n, list) {
	n = rounds[family, over]
	for (i = 1; i <= n; i++) list[i] = time[family, over, i] / time[family, under, i]
	i = median(list, n)
	return sprintf("%.2f (%.2f–%.2f)", i, lowest, highest)
}
/^BenchmarkVerify\// {
	split($1, name, "/"); family = name[2]; way = name[3]; sub(/-[0-9]+$/, "", way)
	if (!(family in seen)) { seen[family] = 1; order[++families] = family }
	time[family, way, ++rounds[family, way]] = $3
	allocs[family, way] = $7
}
END {
	if (families == 0) { print "no figures"; exit 1 }
	printf "%-8s %10s %10s %-20s %10s %12s %-20s %s\n", "family", "byhand ns", "verify ns", "verify÷byhand", "extract ns", "byhandJSON", "extract÷byhandJSON", "allocations of byhand, verify, extract, byhandJSON"
	for (f = 1; f <= families; f++) {
		family = order[f]
		printf "%-8s %10d %10d %-20s %10d %12d %-20s %d, %d, %d, %d\n", family, column(family, "byhand"), column(family, "verify"), ratio(family, "verify", "byhand"),
			column(family, "extract"), column(family, "byhandJSON"), ratio(family, "extract", "byhandJSON"),
			allocs[family, "byhand"], allocs[family, "verify"], allocs[family, "extract"], allocs[family, "byhandJSON"]
	}
}
