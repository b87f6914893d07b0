package backup_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"dove.network/backup"
	"dove.network/dove"
)

func docs(n int) []dove.Doc {
	var all []dove.Doc
	for i := range n {
		all = append(all, dove.Doc{Key: fmt.Sprintf("/k/%05d", i), Value: fmt.Appendf(nil, `{"n":%d,"text":"<&>"}`, i), Revision: dove.Revision(i + 1)})
	}
	return all
}

func write(t testing.TB, all []dove.Doc) []byte {
	t.Helper()
	var out bytes.Buffer
	err := backup.Write(&out, backup.Header{Program: "1.0", Member: "dpc-1", Incarnation: "d07e"}, func(page func([]dove.Doc) error) (dove.Revision, error) {
		for len(all) > 0 {
			n := min(700, len(all))
			if err := page(all[:n]); err != nil {
				return 0, err
			}
			all = all[n:]
		}
		return 99, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func read(text []byte) (backup.Summary, []dove.Doc, error) {
	var all []dove.Doc
	s, err := backup.Read(bytes.NewReader(text), func(_ backup.Header, page []dove.Doc) error {
		all = append(all, page...)
		return nil
	})
	return s, all, err
}

func TestRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 999, 1000, 1001, 2500} {
		want := docs(n)
		s, got, err := read(write(t, want))
		if err != nil || s.Documents != n || s.Revision != 99 || s.Member != "dpc-1" || s.Format != backup.Format {
			t.Fatalf("%d documents: %+v, %v", n, s, err)
		}
		if len(got) != n || n > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%d documents come back as %d others", n, len(got))
		}
	}
}

func pack(text string) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	io.WriteString(w, text)
	w.Close()
	return out.Bytes()
}

func unpack(t *testing.T, file []byte) string {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDamage changes a backup in every way that matters.
func TestDamage(t *testing.T) {
	file := write(t, docs(20))
	text := unpack(t, file)
	lines := strings.SplitAfter(text, "\n")
	for name, test := range map[string]struct {
		file []byte
		kind dove.Kind
		want string
	}{
		"nothing":        {nil, dove.Invalid, "no backup"},
		"another file":   {[]byte("hello, this is no backup at all"), dove.Invalid, "no backup"},
		"other lines":    {pack("{}\n"), dove.Invalid, "no backup"},
		"newer":          {pack(strings.Replace(text, `"format":1`, `"format":2`, 1)), dove.Unsupported, "format 2, written by dpc 1.0"},
		"a value":        {pack(strings.Replace(text, `"n":7`, `"n":8`, 1)), dove.Invalid, "checksum"},
		"a document":     {pack(strings.Replace(text, lines[5], "", 1)), dove.Invalid, "checksum"},
		"twice":          {pack(strings.Replace(text, lines[5], lines[5]+lines[5], 1)), dove.Invalid, "order"},
		"no end":         {pack(strings.Replace(text, lines[21], "", 1)), dove.Invalid, "no end"},
		"only a header":  {pack(lines[0]), dove.Invalid, "no end"},
		"more":           {pack(text + lines[5]), dove.Invalid, "follows"},
		"no line":        {pack(strings.Replace(text, lines[5], "{\n", 1)), dove.Invalid, "not readable"},
		"another header": {pack(strings.Replace(text, "dpc-1", "dpc-2", 1)), dove.Invalid, "checksum"},
		"a long line":    {pack(lines[0] + strings.Repeat("x", 5<<20) + "\n"), dove.Invalid, "more than"},
	} {
		if _, _, err := read(test.file); dove.KindOf(err) != test.kind || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range file {
		if _, _, err := read(file[:i]); err == nil {
			t.Fatalf("a file that is cut off after %d of %d bytes is taken", i, len(file))
		}
		bad := bytes.Clone(file)
		bad[i] ^= 0x10
		if s, all, err := read(bad); err == nil && (s.Revision != 99 || !reflect.DeepEqual(all, docs(20))) { // some bits mean nothing
			t.Fatalf("a file with another byte %d is taken for another backup", i)
		}
	}
}

// TestWriteFails leaves a file that nobody takes for a backup.
func TestWriteFails(t *testing.T) {
	var out bytes.Buffer
	broken := dove.Errorf(dove.Unavailable, "the store is gone")
	err := backup.Write(&out, backup.Header{}, func(page func([]dove.Doc) error) (dove.Revision, error) {
		return 0, broken
	})
	if err != broken {
		t.Errorf("it says %v", err)
	}
	if _, _, err := read(out.Bytes()); err == nil {
		t.Error("half a backup is taken")
	}
}
