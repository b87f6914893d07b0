package etcd

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"syscall"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"

	"dove.network/dove"
)

// Settings of a member inside the process.
const (
	QuotaBytes    = 8 << 30
	HistoryKept   = "10000" // revisions; compacted every five minutes
	autoCompact   = "revision"
	memberName    = "dpc"
	clusterToken  = "dove"
	memberAddress = "dpc.invalid:2380" // of record only: nobody can reach a cluster of one
)

// member is an etcd member inside this process.
type member struct {
	etcd   *embed.Etcd
	server *etcdserver.EtcdServer
	lock   *os.File
}

// startMember starts a cluster of one and waits until it serves. It has no
// listeners, neither for clients nor for peers.
func startMember(ctx context.Context, dir string, log *slog.Logger) (*member, error) {
	lock, err := lockFolder(dir)
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
	c.QuotaBackendBytes = QuotaBytes
	c.AutoCompactionMode, c.AutoCompactionRetention = autoCompact, HistoryKept
	c.MaxTxnOps = dove.TxnOperationsMax
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(logger(log))
	e, err := embed.StartEtcd(c)
	if err != nil {
		return nil, errors.Join(dove.Errorf(dove.Unavailable, "etcd does not start in %s: %v", dir, err), lock.Close())
	}
	m := &member{etcd: e, server: e.Server, lock: lock}
	select {
	case <-e.Server.ReadyNotify():
		return m, nil
	case <-e.Server.StopNotify():
		return nil, errors.Join(dove.Errorf(dove.Unavailable, "etcd stopped while it started in %s", dir), m.close())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), m.close())
	}
}

// lockFolder makes the folder and keeps others out of it until the file is closed.
func lockFolder(dir string) (*os.File, error) {
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

func (m *member) close() error {
	m.etcd.Close()
	return m.lock.Close()
}
