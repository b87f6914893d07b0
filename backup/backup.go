// Package backup knows what a backup file is: everything that an installation
// needs to begin again, as it was at one revision.
//
// Write makes one of the documents, as they come from a store, and of the
// authority; Read gives them back, in pages, and fails unless the file is whole
// and of a format that it knows. A file is compressed lines of JSON: a Header, one line for
// each document in order of keys, and an end with the number of documents and the SHA-256 of all
// lines before it.
//
// The package knows no store and no files, and not what documents mean: whoever
// restores judges them, and decides which of them are worth nothing elsewhere. A backup holds the
// authority's key, so it is as secret as a member's state folder.
package backup

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"dove.network/dove"
)

// Format is the version of what Write writes.
//
//	1: 2026-11-23: documents and authority
const Format = 1

// Limits of a file that Read reads.
const (
	lineMax  = 4 << 20 // bytes; a document is smaller than a transaction
	pageDocs = 1000    // documents of a page
)

// Header begins a backup.
type Header struct {
	Kind        string    `json:"kind"` // "dove-backup"
	Format      int       `json:"format"`
	Program     string    `json:"program"` // version of the program that wrote it
	Member      string    `json:"member"`  // that wrote it
	Created     time.Time `json:"created"`
	Incarnation string    `json:"incarnation"` // of the store, in hexadecimal
	Certificate string    `json:"certificate"` // of the authority, PEM
	Key         string    `json:"key"`         // of the authority, PEM; secret
}

const kind = "dove-backup"

// document is a line.
type document struct {
	Key      string          `json:"key"`
	Revision dove.Revision   `json:"revision"`
	Value    json.RawMessage `json:"value"`
}

// end is the last line.
type end struct {
	Documents int           `json:"documents"`
	Revision  dove.Revision `json:"revision"` // at which they stood together
	SHA256    string        `json:"sha256"`   // of all lines before, in hexadecimal
}

// Write writes a backup: load gives all documents in pages and the revision at
// which they stood together. An error leaves a file that Read refuses.
func Write(to io.Writer, h Header, load func(page func([]dove.Doc) error) (dove.Revision, error)) error {
	h.Kind, h.Format = kind, Format
	packed := gzip.NewWriter(to)
	sum := sha256.New()
	lines := json.NewEncoder(io.MultiWriter(packed, sum))
	lines.SetEscapeHTML(false)
	if err := lines.Encode(h); err != nil {
		return err
	}
	last := end{}
	revision, err := load(func(docs []dove.Doc) error {
		for _, d := range docs {
			if err := lines.Encode(document{d.Key, d.Revision, d.Value}); err != nil {
				return fmt.Errorf("document %s: %w", d.Key, err)
			}
		}
		last.Documents += len(docs)
		return nil
	})
	if err != nil {
		return err
	}
	last.Revision, last.SHA256 = revision, hex.EncodeToString(sum.Sum(nil))
	if err := json.NewEncoder(packed).Encode(last); err != nil {
		return err
	}
	return packed.Close()
}

// Summary is what Read found.
type Summary struct {
	Header
	Documents int
	Revision  dove.Revision // at which the documents stood together
}

// Read reads a backup and gives its documents in pages, which are the caller's to keep. What it
// gives counts only if it ends without an error, which is of kind dove.Invalid if the file is damaged,
// cut off or no backup, and dove.Unsupported if a newer program wrote it.
func Read(from io.Reader, page func(Header, []dove.Doc) error) (Summary, error) {
	var s Summary
	unpacked, err := gzip.NewReader(from)
	if err != nil {
		return s, dove.Errorf(dove.Invalid, "this is no backup of DOVE: %v", err)
	}
	r := reader{lines: bufio.NewReaderSize(unpacked, 64<<10), sum: sha256.New()}
	line, err := r.next()
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(line, &s.Header); err != nil || s.Kind != kind {
		return s, dove.Errorf(dove.Invalid, "this is no backup of DOVE: its first line says something else")
	}
	if s.Format != Format {
		return s, dove.Errorf(dove.Unsupported, "the backup is of format %d, written by dpc %s, and this program knows format %d: restore it with that version", s.Format, s.Program, Format)
	}
	docs, last := []dove.Doc(nil), ""
	for {
		before := hex.EncodeToString(r.sum.Sum(nil))
		line, err := r.next()
		if err != nil {
			return s, err
		}
		var d struct { // a document or the end
			Key       string
			Revision  dove.Revision
			Value     json.RawMessage
			Documents int
			SHA256    string
		}
		if err := json.Unmarshal(line, &d); err != nil {
			return s, damaged("a line is not readable")
		}
		if d.Key == "" {
			switch {
			case d.SHA256 != before:
				return s, damaged("its checksum is another one")
			case d.Documents != s.Documents:
				return s, damaged(fmt.Sprintf("it has %d documents and says %d", s.Documents, d.Documents))
			}
			s.Revision = d.Revision
			break
		}
		if d.Key <= last || len(d.Value) == 0 {
			return s, damaged("its documents are not in order")
		}
		last = d.Key
		s.Documents++
		docs = append(docs, dove.Doc{Key: d.Key, Value: bytes.Clone(d.Value), Revision: d.Revision})
		if len(docs) == pageDocs {
			if err := page(s.Header, docs); err != nil {
				return s, err
			}
			docs = nil
		}
	}
	switch _, err := r.next(); {
	case err == nil:
		return s, damaged("something follows its end")
	case err != errNoMore:
		return s, err
	}
	return s, page(s.Header, docs)
}

func damaged(why string) error {
	return dove.Errorf(dove.Invalid, "the backup is damaged: %s; take another one", why)
}

// The errors of next at the end of the file, and where it should not end.
var (
	errNoMore = dove.Errorf(dove.Invalid, "the backup has no end; take another one")
	errCut    = dove.Errorf(dove.Invalid, "the backup is cut off; take another one")
)

// reader reads lines and sums them up.
type reader struct {
	lines *bufio.Reader
	sum   hash.Hash
	line  []byte
}

func (r *reader) next() ([]byte, error) {
	r.line = r.line[:0]
	for {
		part, err := r.lines.ReadSlice('\n')
		r.line = append(r.line, part...)
		switch {
		case err == nil:
			r.sum.Write(r.line)
			return r.line, nil
		case errors.Is(err, io.EOF) && len(r.line) == 0:
			return nil, errNoMore
		case errors.Is(err, io.ErrUnexpectedEOF):
			return nil, errCut
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, damaged(err.Error())
		case len(r.line) > lineMax:
			return nil, damaged(fmt.Sprintf("a line has more than %d bytes", lineMax))
		}
	}
}
