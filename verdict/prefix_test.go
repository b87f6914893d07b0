package verdict

import (
	"fmt"
	"strings"
	"testing"
)

func TestPrefixes(t *testing.T) {
	tests := []struct {
		first, last uint16
		want        string
	}{
		{0, 65535, "0/0 "},
		{80, 80, "80/16 "},
		{80, 81, "80/15 "},
		{81, 82, "81/16 82/16 "},
		{1, 7, "1/16 2/15 4/14 "},
		{32768, 65535, "32768/1 "},
		{65535, 65535, "65535/16 "},
		{2, 1, ""},
	}
	for _, tt := range tests {
		var got strings.Builder
		for value, length := range Prefixes(tt.first, tt.last) {
			fmt.Fprintf(&got, "%d/%d ", value, length)
		}
		if got.String() != tt.want {
			t.Errorf("%d-%d: %s, want %s", tt.first, tt.last, got.String(), tt.want)
		}
	}
}

func TestPrefixesCoverExactly(t *testing.T) {
	r := random(t)
	for range 2000 {
		a, b := uint16(r.Uint32()), uint16(r.Uint32())
		first, last := min(a, b), max(a, b)
		next, count := uint32(first), 0
		for value, length := range Prefixes(first, last) {
			if uint32(value) != next || length < 0 || length > 16 || uint32(value)&(1<<(16-length)-1) != 0 {
				t.Fatalf("%d-%d: prefix %d/%d where %d comes next", first, last, value, length, next)
			}
			next += 1 << (16 - length)
			count++
		}
		if next != uint32(last)+1 || count > 30 {
			t.Fatalf("%d-%d: %d prefixes end before %d", first, last, count, next)
		}
	}
	for value := range Prefixes(1, 65534) { // stops when asked to
		if value != 1 {
			t.Fatal("the loop went on")
		}
		break
	}
}
