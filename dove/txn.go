package dove

// Doc is one stored document: a key, its bytes and the revision that wrote it.
// A nil Value means that Revision deleted it.
type Doc struct {
	Key      string
	Value    []byte
	Revision Revision
}

// Read is what a transaction relied on: Key was last written at Revision, or
// did not exist if Revision is 0.
type Read struct {
	Key      string
	Revision Revision
}

// Put writes a document.
type Put struct {
	Key   string
	Value []byte
}

// Txn is a change of several documents that happens as a whole or, if one of
// Reads no longer holds, not at all.
type Txn struct {
	Reads   []Read
	Puts    []Put
	Deletes []string
}

// Empty reports whether the transaction changes nothing.
func (t Txn) Empty() bool { return len(t.Puts) == 0 && len(t.Deletes) == 0 }
