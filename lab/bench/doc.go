// Package bench keeps what benchmarks measure and tells it, the same way for all.
//
// A Report has the facts of the machine (Environment) and, for each metric and
// subject, the value of every run and their median (Metric). Record adds a run, Table
// tells it to people, and its JSON form is for programs. Quiet waits until the
// machine has nothing else to do, so that a run which began in noise can be marked.
//
// It knows nothing of what is measured, and judges no figure.
package bench
