package dove

import (
	"iter"
	"strings"
)

// Nearest returns the known word that s was probably meant to be, "" if none is like it.
// The order of known does not matter.
func Nearest(s string, known iter.Seq[string]) string {
	best, least := "", max(1, len(s)/3)+1
	if len(s) > NameMax {
		return ""
	}
	for k := range known {
		if d := distance(strings.ToLower(s), k, least+1); d < least || d == least && best != "" && k < best {
			best, least = k, d
		}
	}
	return best
}

// distance counts the edits from a to b (a letter more, less, other, or two
// swapped), or returns limit if there are that many or more.
func distance(a, b string, limit int) int {
	if max(len(a), len(b))-min(len(a), len(b)) >= limit {
		return limit
	}
	above, row, below := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		below[0] = i + 1
		least := below[0]
		for j := range len(b) {
			cost := row[j]
			if a[i] != b[j] {
				cost = 1 + min(row[j], row[j+1], below[j])
				if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
					cost = min(cost, 1+above[j-1])
				}
			}
			below[j+1] = cost
			least = min(least, cost)
		}
		if least >= limit {
			return limit
		}
		above, row, below = row, below, above
	}
	return min(row[len(b)], limit)
}
