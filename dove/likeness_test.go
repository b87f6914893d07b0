package dove

import "testing"

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b        string
		limit, want int
	}{
		{"web", "web", 3, 0}, {"wep", "web", 3, 1}, {"we", "web", 3, 1}, {"webb", "web", 3, 1},
		{"bcak", "back", 3, 1}, {"form", "from", 3, 1}, {"", "ab", 3, 2}, {"abcd", "wxyz", 3, 3},
		{"abcdef", "abdcef", 2, 1}, {"networks", "netwroks", 2, 1}, {"app", "application", 3, 3},
	} {
		if got := distance(c.a, c.b, c.limit); got != c.want {
			t.Errorf("distance(%q, %q, %d) = %d, want %d", c.a, c.b, c.limit, got, c.want)
		}
		if got := distance(c.b, c.a, c.limit); got != c.want {
			t.Errorf("distance(%q, %q, %d) = %d, want %d", c.b, c.a, c.limit, got, c.want)
		}
	}
}
