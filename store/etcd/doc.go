// Package etcd keeps documents in etcd: in a member that runs inside this
// process (Config.Dir), or in a cluster elsewhere (Config.Endpoints).
//
// Open gives a Store, which reads linearizably, commits compare-and-set
// transactions, and watches a prefix with one watch. A member inside the
// process has no listener for clients: its only client calls it directly. With
// Config.Peers it and those in other processes are one cluster over mutual TLS, which
// grows (Admit, at a member that is in, then Open at the new one) and shrinks
// (Dismiss). Tend looks after such a member as long as the process runs.
//
// Nothing is repeated that could happen twice: when the answer to a
// commit is lost, the error is Unavailable, and whoever decides again on newer
// documents finds out whether it happened.
//
// The package knows keys, bytes and revisions, and not what the documents mean.
package etcd
