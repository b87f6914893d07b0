package dove

import "testing"

func TestCheckAddress(t *testing.T) {
	for text, want := range map[string]struct{ reached, listens bool }{
		"dpc1.example:7443":   {true, true},
		"192.0.2.9:1":         {true, true},
		"[2001:db8::1]:65535": {true, true},
		":7443":               {false, true},
		"0.0.0.0:7443":        {false, true},
		"[::]:7443":           {false, true},
		"192.0.2.9:0":         {false, true},
		"192.0.2.9":           {},
		"192.0.2.9:":          {},
		"192.0.2.9:x":         {},
		"192.0.2.9:65536":     {},
		"2001:db8::1:7443":    {},
		"":                    {},
	} {
		if err := CheckAddress(text, false); (err == nil) != want.reached {
			t.Errorf("%q, to reach: %v", text, err)
		}
		if err := CheckAddress(text, true); (err == nil) != want.listens {
			t.Errorf("%q, to listen at: %v", text, err)
		}
	}
}
