package blueprint

import (
	"bytes"
	"strings"
)

// Document is one of a text of several.
type Document struct {
	Line int // of the text where it begins, from 1
	Text []byte
}

// Split parts a text at the lines with which YAML parts documents, and leaves out
// what has none. A text of one document is one part as it is, whatever stands around.
func Split(text []byte) []Document {
	var parts []Document
	begin, line, first := 0, 0, 1
	end := func(at int) {
		if says(text[begin:at]) {
			parts = append(parts, Document{first, text[begin:at]})
		}
	}
	for at := 0; at < len(text); {
		next := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		line++
		if string(bytes.TrimRight(text[at:next], " \t\r\n")) == "---" {
			end(at)
			begin, first = next, line+1
		}
		at = next
	}
	end(len(text))
	if len(parts) <= 1 {
		return []Document{{1, text}}
	}
	return parts
}

// says reports whether a text is more than comments and empty lines.
func says(text []byte) bool {
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			return true
		}
	}
	return false
}
