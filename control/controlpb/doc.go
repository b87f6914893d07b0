// Package controlpb is the wire form of the conversation that package control
// describes, generated from control.proto; the generated files are committed,
// so that a build needs no protoc.
//
// Nothing but control (which encodes and decodes) and control/stream (which
// carries) imports it. It knows no meaning and checks nothing.
package controlpb

//go:generate sh generate.sh
