package edit

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"dove.network/dove"
	"dove.network/world"
)

// Limits of writes with ids.
const (
	RequestKept = 24 * time.Hour // what came of a write
	RequestsMax = 100_000        // that are kept of one API token
)

// Request is a write that its client gave an id, so that it happens once
// however often it is sent. Fingerprint is the SHA-256 of all that it says.
type Request struct {
	Token       string // id of the API token that asks
	ID          string // as the client gave it
	Fingerprint []byte
	Now         time.Time
}

func (r Request) digest() string {
	sum := sha256.Sum256([]byte(r.ID))
	return hex.EncodeToString(sum[:])
}

// Replay returns what came of the write before, and since when it is so; false
// if it is a new one. Another write under the same id is dove.Invalid.
func (r Request) Replay(w *world.World) (result json.RawMessage, since dove.Revision, found bool, err error) {
	kept, found := w.Request(r.Token, r.digest())
	if !found || !r.Now.Before(kept.Expires) {
		return nil, 0, false, nil
	}
	if subtle.ConstantTimeCompare(kept.Fingerprint, r.Fingerprint) != 1 {
		return nil, 0, false, dove.Errorf(dove.Invalid, "id %q was given to another request before: give each write its own", r.ID)
	}
	if since = kept.Revision; since == 0 {
		since = w.DocRevision(kept.Key())
	}
	return kept.Result, since, true, nil
}

// Keep adds to a write's transaction that its result is kept. Since says since
// when that has been so if the transaction is empty, and is 0 otherwise.
func (r Request) Keep(w *world.World, txn dove.Txn, result any, since dove.Revision) (dove.Txn, error) {
	if since == Undecided { // by a change that is committed with this one
		since = 0
	}
	doc := world.Request{Token: r.Token, ID: r.digest(), Fingerprint: r.Fingerprint, Revision: since, Expires: r.Now.Add(RequestKept).UTC()}
	if w.DocRevision(doc.Key()) == 0 && w.RequestsOf(r.Token) >= RequestsMax {
		return dove.Txn{}, dove.Errorf(dove.TooLarge, "token %q made %d writes with ids within %s, and no more are kept: leave the id out, or use another token", r.Token, RequestsMax, RequestKept)
	}
	var err error
	if doc.Result, err = json.Marshal(result); err != nil {
		return dove.Txn{}, fmt.Errorf("keep the result of a request: %w", err)
	}
	c := begin(w)
	c.txn = txn
	c.put(doc)
	return c.done()
}
