// Package storetest is the conformance test of stores: what a controller may
// rely on, whatever keeps the documents. Run holds for an open, empty store.
//
// The package knows the words of package dove and nothing of any store.
package storetest
