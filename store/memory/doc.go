// Package memory is a store in memory: for tests, simulation and a controller
// that may forget. It behaves as store/etcd does, and the same conformance test
// says so.
//
// A Store holds documents and the changes of its last revisions. Commit adds a
// revision; every Watch follows at its own pace.
//
// The package knows keys, bytes and revisions, and not what the documents mean.
package memory
