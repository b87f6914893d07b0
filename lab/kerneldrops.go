package lab

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// dropped is how many datagrams the guest's sockets on a UDP port have dropped,
// as their buffers were full: the last column of /proc/net/udp and udp6.
func (g *Guest) dropped(port uint16) (drops int64, err error) {
	local := fmt.Sprintf(":%04X", port)
	err = g.ns.Do(func() error {
		found := false
		for _, table := range []string{"udp", "udp6"} {
			err := eachLine("/proc/thread-self/net/"+table, func(fields []string) error {
				if len(fields) < 13 || !strings.HasSuffix(fields[1], local) {
					return nil
				}
				n, err := strconv.ParseInt(fields[len(fields)-1], 10, 64)
				drops, found = drops+n, true
				return err
			})
			if err != nil {
				return err
			}
		}
		return unless(found, "%s has no socket on udp/%d", g.Name(), port)
	})
	return drops, err
}

// backlogDrops is how many packets the kernel has dropped before anybody saw
// them, as a CPU's backlog was full (/proc/net/softnet_stat), of all namespaces.
func backlogDrops() (drops int64, err error) {
	err = eachLine("/proc/net/softnet_stat", func(fields []string) error {
		if len(fields) < 2 {
			return nil
		}
		n, err := strconv.ParseInt(fields[1], 16, 64)
		drops += n
		return err
	})
	return drops, err
}

// deviceDrops is how many packets each device of a namespace has dropped, by
// "namespace device direction".
func (n *Namespace) deviceDrops(into map[string]int64) error {
	return n.Do(func() error {
		return eachLine("/proc/thread-self/net/dev", func(fields []string) error {
			// device: bytes packets errors dropped, four more, and the same of what is sent
			if len(fields) < 17 || !strings.HasSuffix(fields[0], ":") {
				return nil
			}
			for direction, column := range map[string]int{"received": 4, "sent": 12} {
				drops, err := strconv.ParseInt(fields[column], 10, 64)
				if err != nil {
					return err
				}
				into["device "+strings.TrimSuffix(fields[0], ":")+" in "+n.Name+", "+direction] = drops
			}
			return nil
		})
	})
}

func eachLine(file string, do func(fields []string) error) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if err := do(strings.Fields(lines.Text())); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return lines.Err()
}

// grown lists what became more, in order.
func grown(before, after map[string]int64) []string {
	var all []string
	for _, k := range slices.Sorted(maps.Keys(after)) {
		if n := after[k] - before[k]; n > 0 {
			all = append(all, fmt.Sprintf("%s: %d", k, n))
		}
	}
	return all
}
