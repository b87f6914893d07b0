package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// enter has the whole program work in a network namespace: one thread enters it
// and then runs the program anew, so that every thread is inside. Only the
// network namespace changes, mounts stay as they are.
func enter(name string) error {
	if name == "" {
		return nil
	}
	path := name
	if !strings.Contains(name, "/") {
		path = "/run/netns/" + name
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	defer f.Close()
	var there, here unix.Stat_t
	if err := errors.Join(unix.Fstat(int(f.Fd()), &there), unix.Stat("/proc/self/ns/net", &here)); err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	if there.Ino == here.Ino && there.Dev == here.Dev {
		return nil
	}
	runtime.LockOSThread() // until this thread is the whole program
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	return fmt.Errorf("run again in network namespace %s: %w", name, syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}
