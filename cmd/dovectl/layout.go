package main

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// gap is the space between two columns.
const gap = 2

// paints are the sequences that colour text; they take no room.
var paints = regexp.MustCompile("\x1b\\[[0-9;]*m")

func visible(s string) int { return utf8.RuneCountInString(paints.ReplaceAllString(s, "")) }

// layout aligns the cells, separated by tabs, of lines that follow each other;
// a line without cells ends a table. Where width is known (more than 0) and a
// line is longer, its last cell goes on below itself, at spaces.
func layout(text string, width int) string {
	var out strings.Builder
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for len(lines) > 0 {
		n := slices.IndexFunc(lines, func(l string) bool { return !strings.Contains(l, "\t") })
		switch {
		case n < 0:
			n = len(lines)
		case n == 0:
			n = 1
		}
		align(&out, lines[:n], width)
		lines = lines[n:]
	}
	return out.String()
}

func align(out *strings.Builder, lines []string, width int) {
	var widths []int
	for _, line := range lines {
		cells := strings.Split(line, "\t")
		for i, c := range cells[:len(cells)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], visible(c))
		}
	}
	for _, line := range lines {
		cells := strings.Split(line, "\t")
		last, at := len(cells)-1, 0
		var b strings.Builder
		for i, c := range cells[:last] {
			b.WriteString(c + strings.Repeat(" ", widths[i]-visible(c)+gap))
			at += widths[i] + gap
		}
		b.WriteString(fold(cells[last], at, width))
		out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	}
}

// fold breaks a text that starts at a column so that it ends before width, and
// goes on below its start. It leaves as it is what starts too far right for that.
func fold(s string, at, width int) string {
	if width <= 0 || at > width/2 || at+visible(s) <= width {
		return s
	}
	hang := at
	if at == 0 {
		hang = len(s) - len(strings.TrimLeft(s, " ")) + gap
	}
	var b strings.Builder
	used := at
	for i, word := range strings.Split(s, " ") {
		switch n := visible(word); {
		case i == 0:
			used += n
		case used+1+n > width && used > hang:
			b.WriteString("\n" + strings.Repeat(" ", hang))
			used = hang + n
		default:
			b.WriteByte(' ')
			used += 1 + n
		}
		b.WriteString(word)
	}
	return b.String()
}
