package verdict

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// sample is web → app of the examples: two sections, three names.
func sample() *Table {
	h := Half{DefaultName: DefaultDeny, Stateful: true, Rules: []Rule{
		{Match: Match{6, 80, 443}, Action: Allow, Name: "shop/web"},
		{Match: Match{17, 53, 53}, Name: "shop/no-dns"},
	}}
	return Product(h, h)
}

func TestDecodeRefuses(t *testing.T) {
	head := func(rest ...byte) []byte { return append([]byte{format, 0}, rest...) }
	tests := []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"nothing", nil, "ends early"},
		{"another format", []byte{9, 0}, "format 9"},
		{"unknown flags", []byte{format, 4, 1, 1, 'a', 0, 0}, "unknown flags"},
		{"no names", head(0, 0, 0), "name 0 of 0"},
		{"names beyond the bytes", head(0xff, 0x7f, 1, 'a'), "ends early"},
		{"too many names", head(0xff, 0xff, 0x7f), "count of names"},
		{"empty name", head(1, 0, 0, 0), "is empty"},
		{"unprintable name", head(1, 1, 7, 0, 0), "cannot be printed"},
		{"broken UTF-8", head(1, 1, 0xff, 0, 0), "cannot be printed"},
		{"name too long", head(1, 0xff, 0x7f), "length of a name"},
		{"names out of order", head(2, 1, 'b', 1, 'a', 0, 0), "does not come after"},
		{"a name twice", head(2, 1, 'a', 1, 'a', 0, 0), "does not come after"},
		{"unused name", head(2, 1, 'a', 1, 'b', 0, 0), "no verdict uses"},
		{"verdict beyond the names", head(1, 1, 'a', 16, 0), "name 1 of 1"},
		{"verdict too large", head(1, 1, 'a', 0xff, 0xff, 0xff, 0x7f), "a verdict is more"},
		{"number longer than needed", head(1, 1, 'a', 0x80, 0, 0), "longer than needed"},
		{"number without end", head(1, 1, 'a', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "more than"},
		{"section for any protocol", head(1, 1, 'a', 0, 1, 0, 0xff, 0xff, 3, 1), "section for protocol 0"},
		{"sections out of order", head(1, 1, 'a', 0, 2, 6, 0xff, 0xff, 3, 1, 6, 0xff, 0xff, 3, 1), "follows one for 6"},
		{"section like the default", head(1, 1, 'a', 0, 1, 6, 0xff, 0xff, 3, 0), "no more than the default"},
		{"intervals not merged", head(1, 1, 'a', 0, 1, 6, 0, 1, 0xfe, 0xff, 3, 1), "say the same"},
		{"interval beyond 65535", head(1, 1, 'a', 0, 1, 6, 0, 1, 0xff, 0xff, 3, 0), "length of an interval"},
		{"shadow beyond the names", head(1, 1, 'a', 8, 2, 0), "name 1 of 1"},
		{"shadow that ends early", head(1, 1, 'a', 8), "ends early"},
		{"no reply through stateful halves", []byte{format, 3, 1, 1, 'a', 2, 0}, "let replies pass"},
		{"no reply of what is allowed", head(1, 1, 'a', 3, 0), "allowed as a reply"},
		{"bytes after the end", head(1, 1, 'a', 0, 0, 0), "1 bytes follow"},
		{"too long", make([]byte, EncodedMax+1), "at most"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table, err := Decode(tt.bytes)
			if err == nil || !errors.Is(err, ErrEncoding) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want an error that says %q (table %v)", err, tt.want, table)
			}
		})
	}
}

func TestDecodeRefusesEveryCutAndManyIntervals(t *testing.T) {
	encoded := sample().Encode()
	for n := range encoded {
		if _, err := Decode(encoded[:n]); !errors.Is(err, ErrEncoding) {
			t.Errorf("the first %d of %d bytes decode: %v", n, len(encoded), err)
		}
	}
	many := []byte{format, 0, 1, 1, 'a', 0, 1, 6}
	for i := range 40000 {
		many = append(many, 0, byte(i&1))
	}
	if _, err := Decode(many); err == nil || !strings.Contains(err.Error(), "more than 16384 intervals") {
		t.Errorf("40000 intervals: %v", err)
	}
}

func TestDecodeKeepsNothingOfItsInput(t *testing.T) {
	encoded := sample().Encode()
	table, err := Decode(encoded)
	if err != nil {
		t.Fatal(err)
	}
	clear(encoded)
	if table.String() != sample().String() {
		t.Errorf("the table changed with the bytes it was read from:\n%s", table)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(sample().Encode())
	f.Add(Product(Half{DefaultName: DefaultDeny}, Half{DefaultName: DefaultDeny}).Encode())
	f.Fuzz(func(t *testing.T, encoded []byte) {
		table, err := Decode(encoded)
		if err != nil {
			if !errors.Is(err, ErrEncoding) || table != nil {
				t.Fatalf("table %v, error %v", table, err)
			}
			return
		}
		if !bytes.Equal(table.Encode(), encoded) {
			t.Fatalf("%x encodes again as %x", encoded, table.Encode())
		}
		checkCanonical(t, table)
		for _, p := range testProtocols {
			for _, port := range []uint16{0, 80, 65535} {
				table.Name(table.Lookup(p, port))
			}
		}
	})
}
