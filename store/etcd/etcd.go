package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"dove.network/dove"
)

// Limits of a store.
const (
	pageLeast   = 64       // documents that Load asks for at once, first of each kind,
	pageBytes   = 16 << 20 // and as many later as have about so many bytes: etcd counts all that are left each time
	pageGrows   = 4        // times, at most, from one to the next
	dialTimeout = 10 * time.Second
	callTimeout = 10 * time.Second // of one request
	readAgain   = 50 * time.Millisecond
)

// Config says where the documents are: in Dir or at Endpoints.
type Config struct {
	// Dir is the folder of the member inside this process. It is made if it is
	// not there, readable by its owner alone; two processes cannot use one.
	Dir string
	// Peers are how that member is one of several; nil: it is and stays alone,
	// without any listener.
	Peers *Peers
	// Quota is how many bytes the member may keep, 0 for QuotaBytes.
	Quota int64
	// Endpoints are the client addresses of a cluster elsewhere, "host:port";
	// with one the process has no member of its own.
	Endpoints []string
	// TLS is what connections to Endpoints use, nil for none.
	TLS *tls.Config
	// Prefix is what all keys begin with: one who may read and write just these can be the user. "": any.
	Prefix string
	// User and Password are what it is told who asks, "" for nothing.
	User, Password string
	// Log hears what etcd warns of.
	Log *slog.Logger
}

// Store is an open store. All methods may be called from any goroutine. Errors
// are that of a cancelled ctx, or *dove.Error: Unavailable where nobody answered
// in time. After either a commit may have happened or not.
type Store struct {
	client    *clientv3.Client
	member    *member      // nil if the cluster is elsewhere
	watched   atomic.Int64 // the last revision that a watch saw
	closed    atomic.Bool
	dir       string                    // of the member
	any       string                    // a key that may be asked for
	condition atomic.Pointer[Condition] // as Tend saw it last
}

// Open starts the member or connects to the cluster, and returns once it answers.
func Open(ctx context.Context, c Config) (*Store, error) {
	if (c.Dir == "") == (len(c.Endpoints) == 0) {
		return nil, dove.Errorf(dove.Invalid, "etcd needs either a folder for a member or the endpoints of a cluster")
	}
	s := &Store{dir: c.Dir, any: cmp.Or(c.Prefix, "\x00")}
	if c.Dir != "" {
		m, err := startMember(ctx, c)
		if err != nil {
			return nil, err
		}
		s.member, s.client = m, m.client()
	} else {
		client, err := clientv3.New(clientv3.Config{
			Endpoints:            c.Endpoints,
			TLS:                  c.TLS,
			Username:             c.User,
			Password:             c.Password,
			DialTimeout:          dialTimeout,
			DialKeepAliveTime:    dialTimeout,
			DialKeepAliveTimeout: dialTimeout / 2,
			Logger:               logger(c.Log),
		})
		if err != nil {
			return nil, dove.Errorf(dove.Unavailable, "etcd at %v cannot be reached: %v", c.Endpoints, err)
		}
		s.client = client
	}
	if _, err := s.Current(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Load gives page all documents whose keys start with prefix, in order of keys,
// as they stand at the revision that it returns. It is Unavailable if the store
// forgot that revision meanwhile.
func (s *Store) Load(ctx context.Context, prefix string, page func([]dove.Doc) error) (dove.Revision, error) {
	end := clientv3.GetPrefixRangeEnd(prefix)
	from, until := prefix, end
	revision := int64(0) // the newest
	limit := int64(pageLeast)
	for {
		answer, err := s.get(ctx, from, clientv3.WithRange(until), clientv3.WithLimit(limit), clientv3.WithRev(revision))
		if err != nil {
			return 0, err
		}
		if revision == 0 {
			revision = answer.Header.Revision
		}
		docs, bytes := make([]dove.Doc, len(answer.Kvs)), int64(1)
		for i, kv := range answer.Kvs {
			docs[i] = doc(kv)
			bytes += int64(len(kv.Key) + len(kv.Value))
		}
		if len(docs) > 0 {
			if err := page(docs); err != nil {
				return 0, err
			}
		}
		switch {
		case answer.More:
			last := docs[len(docs)-1].Key
			from = last + "\x00"
			// Those of one kind are about as large as each other, and of another perhaps a thousand times.
			if kind, _, ok := strings.Cut(last[len(prefix):], "/"); ok {
				until = clientv3.GetPrefixRangeEnd(prefix + kind + "/")
			}
			limit = max(1, limit*min(pageGrows*bytes, pageBytes)/bytes)
		case until != end:
			from, until, limit = until, end, pageLeast
		default:
			return dove.Revision(revision), nil
		}
	}
}

func (s *Store) get(ctx context.Context, key string, options ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		answer, err := s.client.Get(ctx, key, options...)
		if err == nil {
			return answer, nil
		}
		if !leaderless(err) {
			return nil, said("reading", err)
		}
		select { // another one leads soon, and to read twice does no harm
		case <-time.After(readAgain):
		case <-ctx.Done():
			return nil, said("reading", err)
		}
	}
}

// leaderless reports whether an error says that nobody leads the cluster at this moment.
func leaderless(err error) bool {
	return errors.Is(err, rpctypes.ErrLeaderChanged) || errors.Is(err, rpctypes.ErrNoLeader) || errors.Is(err, rpctypes.ErrTimeoutDueToLeaderFail)
}

// usable looks before a call what etcd would not: the member inside the process
// works on for a caller that is gone, and a closed client tries for seconds.
func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return dove.Errorf(dove.Unavailable, "the store is closed")
	}
	return ctx.Err()
}

// doc returns a document, or what deleted it.
func doc(kv *mvccpb.KeyValue) dove.Doc {
	d := dove.Doc{Key: string(kv.Key), Value: kv.Value, Revision: dove.Revision(kv.ModRevision)}
	if d.Value == nil && kv.CreateRevision != 0 {
		d.Value = []byte{}
	}
	return d
}

// Watch gives each all changes after a revision under a prefix: those of one
// revision in one call, in order of revisions. A revision without documents
// says that nothing else changed up to it. Watch returns what each returns, the error of ctx, or Unavailable if
// revisions after the given one are forgotten or the store is gone.
func (s *Store) Watch(ctx context.Context, prefix string, after dove.Revision, each func(dove.Revision, []dove.Doc) error) error {
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	for answer := range s.client.Watch(watching, prefix, clientv3.WithPrefix(), clientv3.WithRev(int64(after)+1)) {
		if answer.CompactRevision != 0 {
			return dove.Errorf(dove.Unavailable, "revisions from %d to %d are forgotten: load again", after+1, answer.CompactRevision-1)
		}
		if err := answer.Err(); err != nil {
			return said("watching", err)
		}
		for events := answer.Events; len(events) > 0; {
			revision := dove.Revision(events[0].Kv.ModRevision)
			var docs []dove.Doc
			for len(events) > 0 && dove.Revision(events[0].Kv.ModRevision) == revision {
				docs = append(docs, doc(events[0].Kv))
				events = events[1:]
			}
			if err := each(revision, docs); err != nil {
				return err
			}
			after = revision
		}
		if r := dove.Revision(answer.Header.Revision); answer.IsProgressNotify() && r > after {
			if err := each(r, nil); err != nil {
				return err
			}
			after = r
		}
		s.saw(after)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return dove.Errorf(dove.Unavailable, "the watch of the store ended")
}

// saw notes how far a watch came.
func (s *Store) saw(r dove.Revision) {
	for {
		last := s.watched.Load()
		if int64(r) <= last || s.watched.CompareAndSwap(last, int64(r)) {
			return
		}
	}
}

// Commit carries out a transaction and returns its revision. The error is
// Conflict, and nothing happened, if one of the reads does not hold.
func (s *Store) Commit(ctx context.Context, txn dove.Txn) (dove.Revision, error) {
	if err := txn.Check(); err != nil {
		return 0, err
	}
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	compares := make([]clientv3.Cmp, 0, len(txn.Reads))
	ops := make([]clientv3.Op, 0, len(txn.Puts)+len(txn.Deletes))
	for _, r := range txn.Reads {
		compares = append(compares, clientv3.Compare(clientv3.ModRevision(r.Key), "=", int64(r.Revision)))
	}
	for _, p := range txn.Puts {
		ops = append(ops, clientv3.OpPut(p.Key, string(p.Value)))
	}
	for _, key := range txn.Deletes {
		ops = append(ops, clientv3.OpDelete(key))
	}
	answer, err := s.client.Txn(ctx).If(compares...).Then(ops...).Commit()
	if err != nil {
		return 0, said("committing", err)
	}
	if answer.Succeeded {
		return dove.Revision(answer.Header.Revision), nil
	}
	return 0, s.conflict(ctx, txn.Reads)
}

// conflict says which of the reads did not hold. They are looked at again for it, so that what
// succeeds, which is nearly all, carries nothing for the case.
func (s *Store) conflict(ctx context.Context, reads []dove.Read) error {
	actual := make([]clientv3.Op, len(reads))
	for i, r := range reads {
		actual[i] = clientv3.OpGet(r.Key, clientv3.WithKeysOnly())
	}
	if answer, err := s.client.Txn(ctx).Then(actual...).Commit(); err == nil {
		for i, r := range reads {
			is := dove.Revision(0)
			if kvs := answer.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
				is = dove.Revision(kvs[0].ModRevision)
			}
			if is != r.Revision {
				return dove.Errorf(dove.Conflict, "document %s is at revision %d, not %d", r.Key, is, r.Revision)
			}
		}
	} // else one that was not to be there came and is gone again
	return dove.Errorf(dove.Conflict, "a document was changed meanwhile")
}

// Current returns a revision that is not before any that was committed when it
// was called. It makes watches say how far they are if they
// may never see it, because others write elsewhere in the same etcd.
func (s *Store) Current(ctx context.Context) (dove.Revision, error) {
	answer, err := s.get(ctx, s.any, clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	if answer.Header.Revision > s.watched.Load() {
		if err := s.client.RequestProgress(clientv3.WithRequireLeader(ctx)); err != nil {
			return 0, said("asking watches for progress", err)
		}
	}
	return dove.Revision(answer.Header.Revision), nil
}

// Compact forgets the changes up to a revision; documents stay. A member inside
// the process does so by itself.
func (s *Store) Compact(ctx context.Context, upTo dove.Revision) error {
	_, err := s.client.Compact(ctx, int64(upTo))
	return said("compacting", err)
}

// Stopped returns a channel that is closed once the member inside this process
// has stopped, also by itself after a failure; nil if the cluster is elsewhere.
func (s *Store) Stopped() <-chan struct{} {
	if s.member == nil {
		return nil
	}
	return s.member.server.StopNotify()
}

// Close ends every Watch and stops the member.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	err := s.client.Close()
	if errors.Is(err, context.Canceled) {
		err = nil // that is how a client inside the process says it
	}
	if s.member != nil {
		err = errors.Join(err, s.member.close())
	}
	return err
}

// said turns an error of etcd into one of ours.
func said(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, rpctypes.ErrCompacted):
		return dove.Errorf(dove.Unavailable, "%s: the store forgot that revision: load again", doing)
	case errors.Is(err, rpctypes.ErrTooManyOps), errors.Is(err, rpctypes.ErrRequestTooLarge):
		return dove.Errorf(dove.TooLarge, "%s: %v: split the change", doing, err)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return dove.Errorf(dove.Unavailable, "%s: the store is full: delete documents and defragment it", doing)
	}
	return dove.Errorf(dove.Unavailable, "%s: %v", doing, fmt.Errorf("etcd: %w", err))
}
