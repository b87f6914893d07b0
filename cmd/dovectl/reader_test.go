package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWhileRead: who follows events ends when nobody reads them any more, though
// there is nothing to write.
func TestWhileRead(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, stop := whileRead(t.Context(), w)
	defer stop()
	if ctx.Err() != nil {
		t.Fatal("it ended while somebody read")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on though nobody reads")
	}

	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	ctx, stop = whileRead(t.Context(), file)
	stop()
	if ctx.Err() == nil {
		t.Error("a file's context does not stop")
	}
	ctx, stop = whileRead(t.Context(), &bytes.Buffer{})
	stop()
	if ctx.Err() == nil {
		t.Error("a buffer's context does not stop")
	}
}
