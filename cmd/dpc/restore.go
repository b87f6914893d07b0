package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dove.network/auth"
	"dove.network/backup"
	"dove.network/config"
	"dove.network/dove"
	"dove.network/store/etcd"
	"dove.network/world"
)

// restoring is the configuration of dpc restore.
type restoring struct {
	initial
	Elsewhere elsewhere
	Force     bool
}

func restoreCommand() *cobra.Command {
	s := restoring{initial: initial{State: defaultState}}
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a state folder of a backup",
		Long: `restore makes a state folder of what dpc backup wrote: its documents, its
authority, a certificate for this member and another administrator's token (those
that there were go on to be good; tokens for hosts to join do not, for one may have
been used since the backup). Nothing is written unless the whole file is
readable. dpc run then serves what was, under another incarnation: hosts take it
over as it is, also where they have seen later. Stop every other member
of the installation first, restore one, and have the others join it anew.

A folder that is not empty is refused, unless --force is given: then what is in
it is kept aside, in a folder before-TIME in it.`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&s.State, "state", s.State, "`FOLDER` to make")
	f.StringVar(&s.Name, "name", s.Name, "`NAME` of this member; that of the one that wrote the backup if empty")
	f.StringSliceVar(&s.Advertise, "advertise", s.Advertise, "`ADDRESSES` host:port under which others reach the API; the first goes into admin.yaml")
	f.BoolVar(&s.Force, "force", s.Force, "keep aside what is in the folder, instead of refusing")
	s.Elsewhere.flags(f)
	config.Program(cmd, s.check, func(ctx context.Context, log *slog.Logger) error {
		return s.restore(ctx, cmd.Flags().Arg(0), cmd.OutOrStdout(), log)
	})
	return cmd
}

func (s *restoring) check() error {
	named := s.initial
	if named.Name == "" {
		named.Name = "dpc-1"
	}
	var f config.Faults
	s.Elsewhere.check(&f)
	named.faults(&f)
	return f.Err()
}

// restore reads the whole file before it writes anything, and writes the
// authority last, as init does.
func (s *restoring) restore(ctx context.Context, file string, out io.Writer, log *slog.Logger) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	is, err := s.judge(f)
	if err != nil {
		return err
	}
	authority, err := auth.NewAuthorityFrom([]byte(is.Certificate), []byte(is.Key))
	if err != nil {
		return err
	}
	if s.Name == "" {
		s.Name = is.Member
	}
	where := etcd.Config{Dir: filepath.Join(s.State, etcdFolder), Log: log}
	if len(s.Elsewhere.Endpoints) > 0 {
		if where, err = s.Elsewhere.store(log); err != nil {
			return err
		}
		if err := unused(ctx, where); err != nil {
			return err
		}
	}
	if err := s.clear(time.Now()); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	written, err := fill(ctx, where, f)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "%d documents of revision %d, %s\n", written, is.Revision, is.Created.Format(time.RFC3339)); err != nil {
		return err
	}
	return s.settle(authority, out)
}

// judge says whether this version can read everything that a backup has.
func (s *restoring) judge(from io.Reader) (backup.Summary, error) {
	all := world.NewLoader()
	is, err := backup.Read(from, func(_ backup.Header, docs []dove.Doc) error { return all.Add(docs) })
	if err != nil {
		return is, err
	}
	w, err := all.World(is.Revision)
	if err == nil && w.Incarnation() == 0 {
		err = dove.Errorf(dove.Invalid, "the backup is of a store that nobody used: dpc init makes such a one")
	}
	return is, err
}

// clear makes an empty state folder.
func (s *restoring) clear(now time.Time) error {
	entries, err := os.ReadDir(s.State)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(s.State, 0o700)
	}
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == "lost+found" || strings.HasPrefix(e.Name(), asidePrefix)
	})
	if len(entries) == 0 {
		return nil
	}
	if !s.Force {
		return dove.Errorf(dove.Exists, "%s is not empty: choose another folder, or keep aside what is in it with --force", s.State)
	}
	if _, err := os.Stat(filepath.Join(s.State, etcdFolder)); err == nil {
		lock, err := etcd.Lock(filepath.Join(s.State, etcdFolder)) // nobody runs here
		if err != nil {
			return err
		}
		defer lock.Close()
	}
	aside := filepath.Join(s.State, asidePrefix+now.UTC().Format("20060102T150405"))
	if err := os.Mkdir(aside, 0o700); err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(s.State, e.Name()), filepath.Join(aside, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// asidePrefix heads folders of what was kept aside.
const asidePrefix = "before-"

// unused returns why a store cannot be filled.
func unused(ctx context.Context, where etcd.Config) (err error) {
	store, err := etcd.Open(ctx, where)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	_, err = store.Load(ctx, world.Prefix, func(docs []dove.Doc) error {
		return dove.Errorf(dove.Exists, "the store has documents, the first is %s: delete all under %s, or use another store", docs[0].Key, world.Prefix)
	})
	return err
}

// left are the folders of what no backup gives back: what is of the members that there were, and tokens
// to join, each of which may have been used since.
var left = []string{world.MemberKey(""), world.MemberTokenKey(""), world.JoinTokenKey("")}

// fill writes the documents of a backup into an empty store, but for what is left, and with
// another incarnation.
func fill(ctx context.Context, where etcd.Config, from io.Reader) (written int, err error) {
	store, err := etcd.Open(ctx, where)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, err
	}
	var txn dove.Txn
	size := 0
	flush := func() error {
		if txn.Empty() {
			return nil
		}
		_, err := store.Commit(ctx, txn)
		written += len(txn.Puts)
		txn, size = dove.Txn{}, 0
		return err
	}
	put := func(p dove.Put) error {
		if len(txn.Puts) == dove.TxnOperationsMax || size+len(p.Key)+len(p.Value) > dove.TxnBytesMax/2 {
			if err := flush(); err != nil {
				return err
			}
		}
		txn.Puts = append(txn.Puts, p)
		size += len(p.Key) + len(p.Value)
		return nil
	}
	_, err = backup.Read(from, func(_ backup.Header, docs []dove.Doc) error {
		for _, d := range docs {
			if d.Key == world.MetaKey || slices.ContainsFunc(left, func(folder string) bool { return strings.HasPrefix(d.Key, folder) }) {
				continue
			}
			if err := put(dove.Put{Key: d.Key, Value: d.Value}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = put(world.Put(world.Meta{Incarnation: max(1, binary.BigEndian.Uint64(b[:])), CreatedAt: time.Now().UTC()}))
	}
	if err == nil {
		err = flush()
	}
	if err != nil && written > 0 && len(where.Endpoints) > 0 {
		err = fmt.Errorf("the etcd has a part of the backup: delete all under %s before another try (%w)", world.Prefix, err)
	}
	return written, err
}
