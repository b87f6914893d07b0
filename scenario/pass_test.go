package scenario

import (
	"strings"
	"testing"
	"time"
)

func TestPass(t *testing.T) {
	const head = "scenario s\nhosts h\n"
	s, err := Parse([]byte(head + "pass 40s\npass 1m30s\n"))
	if err != nil || s.Steps[0].Action != (Pass{40 * time.Second}) || s.Steps[1].Action.String() != "pass 90s" {
		t.Fatalf("%v: %+v", err, s)
	}
	for _, wrong := range []string{"pass", "pass 40", "pass 1.5s", "pass 0s", "pass -1s", "pass 6m", "pass 1s 2s"} {
		if _, err := Parse([]byte(head + wrong + "\n")); err == nil || !strings.Contains(err.Error(), "3:") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func TestAt(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 59, 30, 999, time.FixedZone("", 3600))
	a := ApplyBlueprint{Text: `{until: "now+40s", name: know+40s, other: "now+0s, now+2m now+9999999s"}`}
	want := `{until: "2026-01-01T00:00:10Z", name: know+40s, other: "2025-12-31T23:59:30Z, now+2m now+9999999s"}`
	if got := a.At(now); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
