package etcd

// Leads reports whether the member of a store leads.
func Leads(s *Store) bool { return s.member.server.Leader() == s.member.server.MemberID() }

// Mute has the member of a store say nothing to the others any more.
func Mute(s *Store) {
	server := s.member.server
	for _, m := range server.Cluster().Members() {
		if m.ID != server.MemberID() {
			server.CutPeer(m.ID)
		}
	}
}
