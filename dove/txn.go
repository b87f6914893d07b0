package dove

// Limits of one transaction, those of etcd.
const (
	TxnOperationsMax = 128     // reads, and writes
	TxnBytesMax      = 1 << 20 // of keys and values written
)

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

// Check reports a transaction that no store carries out: TooLarge beyond the
// limits, Internal if it writes a document twice or writes a nil value.
func (t Txn) Check() error {
	bytes := 0
	written := map[string]bool{}
	for _, p := range t.Puts {
		bytes += len(p.Key) + len(p.Value)
		if written[p.Key] || p.Value == nil {
			return Errorf(Internal, "a transaction writes document %s twice or without a value", p.Key)
		}
		written[p.Key] = true
	}
	for _, k := range t.Deletes {
		if written[k] {
			return Errorf(Internal, "a transaction writes document %s twice", k)
		}
		written[k] = true
	}
	if n := max(len(t.Reads), len(written)); n > TxnOperationsMax {
		return Errorf(TooLarge, "the change touches %d documents, at most %d fit one transaction: split it", n, TxnOperationsMax)
	}
	if bytes > TxnBytesMax {
		return Errorf(TooLarge, "the change writes %d bytes, at most %d fit one transaction: split it", bytes, TxnBytesMax)
	}
	return nil
}
