// Package client asks a DPC member for what its API offers, in Go.
//
// A Client is made from a Config (server, token and the authority's
// certificate; Config.Save and Load keep these three in a file) and has one
// method per operation of package api, with the api's own types. Writes take
// ifMatch as package edit does: nil is no condition, 0 demands that the resource
// does not exist, another revision that it is still at that one.
//
// Every error that the DPC answered, and a DPC that does not answer, comes back
// as a *dove.Error with its kind and all faults. Nothing is retried and nothing
// is cached: the caller's context is the only limit of time. Any goroutine may
// use a Client.
package client
