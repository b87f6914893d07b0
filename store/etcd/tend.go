package etcd

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"syscall"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"dove.network/dove"
)

// How full a store may be, in hundredths of what it can become.
const (
	AlarmAt  = 70 // from then on it says so, and members give back what they do not use
	RefuseAt = 85 // from then on nothing should be added
)

// When a member inside the process gives back what its file has and does not use.
const (
	defragmentAt   = AlarmAt / 2     // hundredths; below that it does not matter
	defragmentTurn = 2 * time.Minute // each member has such a turn after the other, by the clock
	lookEvery      = 2 * time.Second // at how full the store is
	promoteEvery   = time.Second
)

// Condition is how full the store is, and what is wrong with it. Sizes are bytes,
// of this process's member, or of the first that answers of a cluster elsewhere.
type Condition struct {
	Size   int64    // of the file
	InUse  int64    // of that
	Most   int64    // that Size can become: the quota, or less if the disk has less room
	Leader string   // name of the member that orders writes, "" if there is none
	Alarms []string // in plain words
}

// Full returns how full the store is in hundredths.
func (c Condition) Full() int {
	if c.Most <= 0 {
		return 0
	}
	return int(min(100, c.Size*100/c.Most))
}

// Condition looks how the store is.
func (s *Store) Condition(ctx context.Context) (Condition, error) {
	var c Condition
	var alarms []*etcdserverpb.AlarmMember
	if s.member != nil {
		c, alarms = s.member.condition(s.dir)
	} else {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		status, err := s.status(ctx)
		if err != nil {
			return c, said("asking how the store is", err)
		}
		c = Condition{Size: status.DbSize, InUse: status.DbSizeInUse, Most: cmp.Or(status.DbSizeQuota, QuotaBytes)}
		if status.Leader != 0 {
			c.Leader = fmt.Sprintf("%x", status.Leader)
		}
		list, err := s.client.AlarmList(ctx)
		if err != nil {
			return c, said("asking for alarms", err)
		}
		alarms = list.Alarms
	}
	if c.Full() >= AlarmAt {
		c.Alarms = append(c.Alarms, fmt.Sprintf("the store is full to %d %%: it has %s of %s", c.Full(), mebibytes(c.Size), mebibytes(c.Most)))
	}
	if c.Leader == "" {
		c.Alarms = append(c.Alarms, "the store has no leader: nothing can be written")
	}
	for _, a := range alarms {
		switch a.Alarm {
		case etcdserverpb.AlarmType_NOSPACE:
			c.Alarms = append(c.Alarms, fmt.Sprintf("etcd member %x has no space: it takes deletions only", a.MemberID))
		case etcdserverpb.AlarmType_CORRUPT:
			c.Alarms = append(c.Alarms, fmt.Sprintf("etcd member %x holds other data than the others: remove it, and join it anew", a.MemberID))
		}
	}
	slices.Sort(c.Alarms)
	return c, nil
}

// condition looks at the member itself, also one that has stopped.
func (m *member) condition(dir string) (Condition, []*etcdserverpb.AlarmMember) {
	c := Condition{Size: m.server.Backend().Size(), InUse: m.server.Backend().SizeInUse(), Most: m.server.Cfg.QuotaBackendBytes}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err == nil {
		c.Most = min(c.Most, c.Size+int64(fs.Bavail)*fs.Bsize)
	}
	if leader := m.server.Cluster().Member(m.server.Leader()); leader != nil {
		c.Leader = leader.Name
	}
	return c, m.server.Alarms()
}

// status asks the members of a cluster elsewhere in turn.
func (s *Store) status(ctx context.Context) (*clientv3.StatusResponse, error) {
	var failed error
	for _, address := range s.client.Endpoints() {
		status, err := s.client.Status(ctx, address)
		if err == nil {
			return status, nil
		}
		failed = err
	}
	return nil, failed
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// Room returns nil as long as documents may be added, and dove.Unavailable with
// the reason if the store is too full. It does not ask anybody: Tend keeps it up to date, and who would be refused
// has this process's member looked at again.
func (s *Store) Room() error {
	noted := s.condition.Load()
	if noted == nil || noted.Full() < RefuseAt {
		return nil
	}
	c := *noted
	if s.member != nil {
		if c, _ = s.member.condition(s.dir); c.Full() < RefuseAt {
			return nil // there is room again
		}
	}
	return dove.Errorf(dove.Unavailable, "the store is full to %d %% (%s of %s): delete what is not needed, or give it more room; until then it takes deletions and bindings only", c.Full(), mebibytes(c.Size), mebibytes(c.Most))
}

// Noted returns the condition as Tend saw it last; nothing is known before it did.
func (s *Store) Noted() Condition {
	if c := s.condition.Load(); c != nil {
		return *c
	}
	return Condition{}
}

// Tend looks after the store until ctx ends: it makes admitted members count once
// they have what the others have, notes how full the store is, has this
// process's member give back what it does not use, ends the alarm that it
// had no space, and, while nobody leads, connections that say nothing. A cluster elsewhere is looked at only.
func (s *Store) Tend(ctx context.Context, log *slog.Logger) error {
	promote, look := time.NewTicker(promoteEvery), time.NewTicker(lookEvery)
	defer promote.Stop()
	defer look.Stop()
	alarmed := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Stopped():
			<-ctx.Done()
			return nil
		case <-promote.C:
			s.promote(ctx, log)
			if s.member != nil {
				s.member.revive(log)
			}
			continue
		case <-look.C:
		}
		c, err := s.Condition(ctx)
		if err != nil {
			continue // whoever writes or reads hears of it
		}
		s.condition.Store(&c)
		if is := len(c.Alarms) > 0; is != alarmed {
			alarmed = is
			if is {
				log.Warn("the store needs attention", "alarms", c.Alarms)
			} else {
				log.Info("the store is well again")
			}
		}
		if s.member != nil {
			s.defragment(ctx, c, log)
		}
	}
}

// promote makes members count that have what the others have, if this process's
// leads.
func (s *Store) promote(ctx context.Context, log *slog.Logger) {
	if s.member == nil || s.member.server.Leader() != s.member.server.MemberID() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, m := range s.member.server.Cluster().Members() {
		if !m.IsLearner || m.Name == "" {
			continue
		}
		if _, err := s.client.MemberPromote(ctx, uint64(m.ID)); err == nil {
			log.Info("a member of the store has what the others have, and counts from now on", "etcd", m.Name)
		}
	}
}

// defragment has this process's member give back what its file has and does not
// use, if that is much, in its turn: the member answers nothing meanwhile.
func (s *Store) defragment(ctx context.Context, c Condition, log *slog.Logger) {
	if c.Full() >= AlarmAt {
		s.member.server.Backend().ForceCommit() // what was given up counts as unused only after later writes, and there may be none
	}
	if !wasteful(c) || !s.turn(time.Now()) {
		return
	}
	start := time.Now()
	if s.member.server.Leader() == s.member.server.MemberID() {
		s.handOver(ctx)
	}
	if err := s.member.server.Defragment(); err != nil {
		log.Warn("the store does not give back what it does not use", "error", err)
		return
	}
	log.Info("the store gave back what it did not use", "before", mebibytes(c.Size), "after", mebibytes(s.member.server.Backend().Size()), "took", time.Since(start))
	own := uint64(s.member.server.MemberID())
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, a := range s.member.server.Alarms() {
		if a.MemberID != own || a.Alarm != etcdserverpb.AlarmType_NOSPACE {
			continue
		}
		if _, err := s.client.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: own, Alarm: etcdserverpb.AlarmType_NOSPACE}); err != nil {
			log.Warn("the alarm that there is no space does not end", "error", err)
		}
	}
}

// wasteful reports whether it is worth it: half of a file that is large for its
// room is of no use, or a tenth if it is nearly as large as it can become.
func wasteful(c Condition) bool {
	unused := c.Size - c.InUse
	return c.Full() >= defragmentAt && unused >= c.Size/2 || c.Full() >= AlarmAt && unused >= c.Size/10
}

// turn reports whether it is this process's turn: members take turns by the
// clock, which needs no message and no room in the store.
func (s *Store) turn(now time.Time) bool {
	var ids []uint64
	for _, m := range s.member.server.Cluster().Members() {
		ids = append(ids, uint64(m.ID))
	}
	slices.Sort(ids)
	at := now.Unix() / int64(defragmentTurn/time.Second) % int64(max(1, len(ids)))
	return int(at) < len(ids) && ids[at] == uint64(s.member.server.MemberID())
}

// handOver lets another member lead, if there is one that can.
func (s *Store) handOver(ctx context.Context) {
	own := s.member.server.MemberID()
	for _, m := range s.member.server.Cluster().Members() {
		if m.ID == own || m.IsLearner {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		_, err := s.client.MoveLeader(ctx, uint64(m.ID))
		cancel()
		if err == nil {
			return
		}
	}
}
