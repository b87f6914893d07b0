package etcd

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"dove.network/dove"
)

// Settings of a member inside the process.
const (
	QuotaBytes     = int64(8 << 30)
	HistoryKept    = "10000" // revisions; compacted every five minutes
	autoCompact    = "revision"
	memberName     = "dpc"            // without peers
	remindEvery    = 10 * time.Second // of what a start waits for
	clusterToken   = "dove"
	memberAddress  = "dpc.invalid:2380" // of record only: nobody can reach a cluster of one
	handOverWithin = time.Second        // when it stops and leads
)

// member is an etcd member inside this process.
type member struct {
	etcd   *embed.Etcd
	server *etcdserver.EtcdServer
	lock   *os.File
	peers  *Peers // nil: nobody else can be in the cluster
}

// startMember starts the member in a folder and waits until it serves and counts.
// It has no listener for clients, and without peers none at all.
func startMember(ctx context.Context, where Config) (*member, error) {
	dir, log := where.Dir, where.Log
	lock, err := Lock(dir)
	if err != nil {
		return nil, err
	}
	address := []url.URL{{Scheme: "http", Host: memberAddress}}
	c := embed.NewConfig()
	c.Dir = filepath.Join(dir, "member")
	c.Name = memberName
	c.ListenPeerUrls, c.ListenClientUrls, c.ListenMetricsUrls = nil, nil, nil
	c.AdvertisePeerUrls, c.AdvertiseClientUrls = address, nil
	c.InitialCluster = memberName + "=" + address[0].String()
	c.InitialClusterToken = clusterToken
	c.QuotaBackendBytes = cmp.Or(where.Quota, QuotaBytes)
	c.AutoCompactionMode, c.AutoCompactionRetention = autoCompact, HistoryKept
	c.MaxTxnOps = dove.TxnOperationsMax
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger(log))
	if where.Peers != nil {
		if err := where.Peers.configure(ctx, c); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, errors.Join(dove.Errorf(dove.Unavailable, "etcd does not start in %s: %v", dir, err), lock.Close())
	}
	m := &member{etcd: e, server: e.Server, lock: lock, peers: where.Peers}
	if err := m.ready(ctx, dir, log); err != nil {
		return nil, errors.Join(err, m.close())
	}
	return m, nil
}

// ready waits until the member serves: with others, until enough of them do.
func (m *member) ready(ctx context.Context, dir string, log *slog.Logger) error {
	remind := time.NewTicker(remindEvery)
	defer remind.Stop()
	for {
		select {
		case <-m.server.ReadyNotify():
			if m.peers == nil {
				return nil
			}
			return m.counts(ctx, m.peers)
		case <-remind.C:
			if log != nil {
				log.Warn("the store waits for its other members: more than half of them must run", "members", len(m.server.Cluster().Members()))
			}
		case <-m.server.StopNotify():
			return dove.Errorf(dove.Unavailable, "etcd stopped while it started in %s; its member may have been removed from the cluster", dir)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Lock makes the folder of a member and keeps others out of it until the file is closed.
func Lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, dove.Errorf(dove.Unavailable, "the folder of etcd cannot be made: %v", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, dove.Errorf(dove.Unavailable, "the folder of etcd cannot be locked: %v", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(dove.Errorf(dove.Unavailable, "another process uses %s: stop it first, or choose another folder", dir), lock.Close())
	}
	return lock, nil
}

// client returns a client that calls the member directly.
func (m *member) client() *clientv3.Client { return v3client.New(m.server) }

// close stops the member. If it leads it lets another one lead, unless none is there that takes over.
func (m *member) close() error {
	defer time.AfterFunc(handOverWithin, m.server.HardStop).Stop()
	m.etcd.Close()
	return m.lock.Close()
}
