package lab

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dove.network/lab/bench"
)

const (
	congestion   = "cubic" // of TCP, whatever the machine's default is
	loadPort     = 5201
	setUpTimeout = 10 * time.Second // for a load's two ends beside its own time
)

// pair runs a server in the second guest and a client in the first, and returns
// what the client printed. The server listens when proc says that it does ("tcp" or "udp").
func (s *subject) pair(ctx context.Context, proc string, lasts time.Duration, server, client []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, setUpTimeout+lasts)
	defer cancel()
	serve := s.guests[1].Command(ctx, server[0], server[1:]...)
	var said bytes.Buffer
	serve.Stdout, serve.Stderr = &said, &said
	if err := serve.Start(); err != nil {
		return nil, err
	}
	defer func() {
		_ = serve.Process.Kill()
		_ = serve.Wait()
	}()
	err := eventually(ctx, setUpTimeout, func() error {
		return s.guests[1].Do(func() error { return listens(proc, netip.AddrPortFrom(benchGuests[1], loadPort)) })
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", server[0], err, said.String())
	}
	out, err := s.guests[0].Command(ctx, client[0], client[1:]...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%s: %w: %s%s", client[0], err, out, exit.Stderr)
	}
	return out, err
}

// listens returns nil if a socket of this namespace is bound to the address:
// /proc/net/tcp and udp write it as the hexadecimal digits of its words.
func listens(proc string, at netip.AddrPort) error {
	f, err := os.Open("/proc/thread-self/net/" + proc)
	if err != nil {
		return err
	}
	defer f.Close()
	a := at.Addr().As4()
	want := fmt.Sprintf("%02X%02X%02X%02X:%04X", a[3], a[2], a[1], a[0], at.Port())
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 2 && fields[1] == want && strings.HasSuffix(fields[2], ":0000") {
			return nil
		}
	}
	return fmt.Errorf("nothing listens on %s %s", proc, at)
}

// iperf is what we read of iperf3's report.
type iperf struct {
	Error string `json:"error"`
	End   struct {
		Sum struct {
			Packets int     `json:"packets"`
			Lost    int     `json:"lost_packets"`
			Seconds float64 `json:"seconds"`
		} `json:"sum"`
		Received struct {
			BitsPerSecond float64 `json:"bits_per_second"`
			Seconds       float64 `json:"seconds"`
		} `json:"sum_received"`
		Sender   string `json:"sender_tcp_congestion"`
		Receiver string `json:"receiver_tcp_congestion"`
	} `json:"end"`
}

// iperf3 sends for some time, or where that is none as many bytes in each stream,
// with a CPU at each end.
func (s *subject) iperf3(ctx context.Context, n length, bytes string, args ...string) (iperf, error) {
	amount := []string{"-t", strconv.Itoa(n.seconds)}
	if n.seconds == 0 {
		amount = []string{"-n", bytes}
	}
	to, port := benchGuests[1].String(), strconv.Itoa(loadPort)
	out, err := s.pair(ctx, "tcp", time.Duration(n.seconds)*time.Second, slices.Concat(receivesOn, []string{"iperf3", "-s", "-1", "-B", to, "-p", port}),
		slices.Concat(sendsOn, []string{"iperf3", "-J", "-c", to, "-p", port}, amount, args))
	if err != nil {
		return iperf{}, err
	}
	var r iperf
	if err := json.Unmarshal(out, &r); err != nil {
		return iperf{}, fmt.Errorf("read the report of iperf3: %w", err)
	}
	return r, unless(r.Error == "", "iperf3: %s", r.Error)
}

// A load's sender and its receiver have a CPU each, the first and the last: left to
// the scheduler they share one in some runs and not in others, and the figures of one
// subject differ by a half. iperf3 up to 3.15 is one thread, however many its streams.
var sendsOn, receivesOn = onCPU(0), onCPU(runtime.NumCPU() - 1)

// onCPU is the beginning of a command that is to run on one CPU.
func onCPU(n int) []string { return []string{"taskset", "-c", strconv.Itoa(n)} }

// How often in a round a load runs whose figures differ most, for a second each, all
// subjects in turn; the median counts. One stream is bimodal over every subject: when
// the sender's packets leave from two CPUs some overtake others, and TCP takes that for
// loss until its end. Round trips are slower over every subject while a cache line takes
// longer from one CPU to the other, which in a virtual machine changes by itself.
const (
	tries        = 3
	pollingTries = 7
)

// tcpStream returns the Gbit/s that one TCP stream brings over, and the CPU time of
// the whole machine for each Gbit, s.
func tcpStream(ctx context.Context, s *subject, n length) ([]float64, error) {
	before, err := bench.Busy()
	if err != nil {
		return nil, err
	}
	r, err := s.tcp(ctx, n, 1)
	if err != nil {
		return nil, err
	}
	after, err := bench.Busy()
	got := r.End.Received.BitsPerSecond / 1e9
	return []float64{got, (after - before).Seconds() / (got * r.End.Received.Seconds)}, err
}

// tcpStreams returns the Gbit/s that so many TCP streams bring over together.
func tcpStreams(streams int) func(context.Context, *subject, length) ([]float64, error) {
	return func(ctx context.Context, s *subject, n length) ([]float64, error) {
		r, err := s.tcp(ctx, n, streams)
		return []float64{r.End.Received.BitsPerSecond / 1e9}, err
	}
}

// tcp runs so many streams at once.
func (s *subject) tcp(ctx context.Context, n length, streams int) (iperf, error) {
	r, err := s.iperf3(ctx, n, strconv.Itoa(64<<20/streams), "-C", congestion, "-P", strconv.Itoa(streams))
	if err != nil {
		return iperf{}, err
	}
	return r, unless(r.End.Sender == congestion && r.End.Receiver == congestion,
		"TCP used %s and %s, meant: %s", r.End.Sender, r.End.Receiver, congestion)
}

// smallPackets returns how many UDP packets of 64 bytes arrive in a second when
// one sender sends as many as it can.
func smallPackets(ctx context.Context, s *subject, n length) ([]float64, error) {
	r, err := s.iperf3(ctx, n, "1M", "-u", "-l", "64", "-b", "0")
	if err != nil {
		return nil, err
	}
	sum := r.End.Sum
	if sum.Seconds == 0 || sum.Packets <= sum.Lost {
		return nil, fmt.Errorf("%d of %d packets were lost in %v s", sum.Lost, sum.Packets, sum.Seconds)
	}
	return []float64{float64(sum.Packets-sum.Lost) / sum.Seconds}, nil
}

// roundTrips returns the median and the 99th percentile of UDP round trips, us,
// while both ends poll, on a CPU each: nothing waits to be woken.
func roundTrips(ctx context.Context, s *subject, n length) ([]float64, error) {
	return s.sockperf(ctx, n, sendsOn, receivesOn, "--nonblocked")
}

// wokenTrips returns the median of UDP round trips, us, where both ends sleep
// until a packet comes. They share one CPU, with the relays behind taps: else it
// shows how long an idle CPU takes to wake, not the path.
func wokenTrips(ctx context.Context, s *subject, n length) (values []float64, err error) {
	var one, all unix.CPUSet
	one.Set(runtime.NumCPU() - 1)
	all.Fill()
	for _, r := range slices.Concat(s.relays, s.lent) {
		if err := r.bind(&one); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, r.bind(&all)) }()
	}
	p, err := s.sockperf(ctx, n, receivesOn, receivesOn)
	if err != nil {
		return nil, err
	}
	return p[:1], nil
}

var percentile = regexp.MustCompile(`percentile (50|99)\.000 = +([0-9.]+)`)

// sockperf returns the median and the 99th percentile of round trips, us. asks and
// answers are the beginnings of both ends' commands. On a machine so busy that too few
// answers come, it runs again and longer.
func (s *subject) sockperf(ctx context.Context, n length, asks, answers []string, args ...string) ([]float64, error) {
	to, port := benchGuests[1].String(), strconv.Itoa(loadPort)
	server := slices.Concat(answers, []string{"sockperf", "server", "-i", to, "-p", port}, args)
	var out []byte
	for seconds := max(1, n.seconds); seconds <= 16*max(1, n.seconds); seconds *= 4 {
		client := slices.Concat(asks, []string{"sockperf", "ping-pong", "-i", to, "-p", port, "--full-rtt", "-t", strconv.Itoa(seconds)}, args)
		var err error
		if out, err = s.pair(ctx, "udp", time.Duration(seconds)*time.Second, server, client); err != nil {
			return nil, err
		}
		found := map[string]float64{}
		for _, m := range percentile.FindAllSubmatch(out, -1) {
			if found[string(m[1])], err = strconv.ParseFloat(string(m[2]), 64); err != nil {
				return nil, fmt.Errorf("sockperf: %w", err)
			}
		}
		if len(found) == 2 {
			return []float64{found["50"], found["99"]}, nil
		}
	}
	return nil, fmt.Errorf("sockperf gave no percentiles: %s", out)
}
