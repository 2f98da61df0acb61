// Command caller calls a KMS v2 plugin as kube-apiserver does, with grpc-go on one connection, and measures it.
//
//	caller          takes {"sock": "...", "method": "Status" | "Encrypt" | "Decrypt", "callers": N, "seeds": N, "warmUpMs": N, "durationMs": N}
//	                and answers {"perSecond": N, "p50": ms, "p99": ms, "failures": N, "calls": N, "total": N}, each a line of JSON;
//	                it keeps its connections, and ends with its standard input
//	caller run COMMAND...   runs a command to its end and prints {"ms": N, "peakBytes": N}; Linux counts this program's own
//	                        12 MiB as the least
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	kms "k8s.io/kms/apis/v2"
)

func main() {
	err := error(nil)
	if len(os.Args) > 2 && os.Args[1] == "run" {
		err = run(os.Args[2:])
	} else {
		err = answerLines()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(command []string) error {
	child := exec.Command(command[0], command[1:]...)
	began := time.Now()
	if err := child.Run(); err != nil {
		return err
	}
	ms := milliseconds(time.Since(began))
	peak := child.ProcessState.SysUsage().(*syscall.Rusage).Maxrss * 1024
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"ms": ms, "peakBytes": peak})
}

type request struct {
	Sock    string `json:"sock"`
	Method  string `json:"method"`
	Callers int    `json:"callers"`
	// Seeds is how many ciphertexts the callers of Decrypt share: 1 for all the same, as many as callers for each its own.
	Seeds      int `json:"seeds"`
	WarmUpMs   int `json:"warmUpMs"`
	DurationMs int `json:"durationMs"`
}

type result struct {
	PerSecond float64 `json:"perSecond"`
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
	Failures  int     `json:"failures"`
	Calls     int     `json:"calls"`
	// Total counts the calls of the warm-up and those that ended late, too.
	Total int `json:"total"`
	// FirstFailure says what went wrong.
	FirstFailure string `json:"firstFailure,omitempty"`
}

func answerLines() error {
	targets := map[string]*target{}
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var asked request
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			return err
		}
		if targets[asked.Sock] == nil {
			made, err := connect(asked.Sock)
			if err != nil {
				return err
			}
			targets[asked.Sock] = made
		}
		measured, err := targets[asked.Sock].load(asked)
		if err != nil {
			return fmt.Errorf("%s: %w", asked.Sock, err)
		}
		if err := out.Encode(measured); err != nil {
			return err
		}
	}
	return lines.Err()
}

// seed is encrypted again and again; each ciphertext is another one.
var seed = slices.Repeat([]byte{42}, 32)

type target struct {
	client  kms.KeyManagementServiceClient
	wrapped []*kms.EncryptResponse
}

func connect(sock string) (*target, error) {
	connection, err := grpc.NewClient("unix://"+sock, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &target{client: kms.NewKeyManagementServiceClient(connection)}, nil
}

func (t *target) call(method string, seedAt int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	uid := "8d0b7e5a-3c1f-4f5e-9d43-2f6f1c0b9a77"
	switch method {
	case "Status":
		reply, err := t.client.Status(ctx, &kms.StatusRequest{})
		if err == nil && reply.Healthz != "ok" {
			return errors.New(reply.Healthz)
		}
		return err
	case "Encrypt":
		_, err := t.client.Encrypt(ctx, &kms.EncryptRequest{Plaintext: seed, Uid: uid})
		return err
	case "Decrypt":
		from := t.wrapped[seedAt]
		reply, err := t.client.Decrypt(ctx, &kms.DecryptRequest{
			Ciphertext: from.Ciphertext, KeyId: from.KeyId, Annotations: from.Annotations, Uid: uid,
		})
		if err == nil && !slices.Equal(reply.Plaintext, seed) {
			return errors.New("another plaintext")
		}
		return err
	default:
		return errors.New("no method " + method)
	}
}

func (t *target) wrap(count int) error {
	for len(t.wrapped) < count {
		made, err := t.client.Encrypt(context.Background(), &kms.EncryptRequest{Plaintext: seed, Uid: "prepare"})
		if err != nil {
			return err
		}
		t.wrapped = append(t.wrapped, made)
	}
	return nil
}

// load lets the callers call without a pause; what ends in the warm-up, or after the time, is not counted.
func (t *target) load(asked request) (result, error) {
	if asked.Method == "Decrypt" {
		if err := t.wrap(asked.Seeds); err != nil {
			return result{}, err
		}
	}
	start := time.Now().Add(time.Duration(asked.WarmUpMs) * time.Millisecond)
	end := start.Add(time.Duration(asked.DurationMs) * time.Millisecond)
	var lock sync.Mutex
	var all []time.Duration
	var measured result
	var callers sync.WaitGroup
	for caller := range asked.Callers {
		callers.Go(func() {
			var own []time.Duration
			total := 0
			for began := time.Now(); began.Before(end); {
				err := t.call(asked.Method, caller%max(asked.Seeds, 1))
				now := time.Now()
				total++
				if err != nil {
					lock.Lock()
					measured.Failures++
					measured.FirstFailure = err.Error()
					lock.Unlock()
				} else if !now.Before(start) && !now.After(end) {
					own = append(own, now.Sub(began))
				}
				began = now
			}
			lock.Lock()
			all = append(all, own...)
			measured.Total += total
			lock.Unlock()
		})
	}
	callers.Wait()
	slices.Sort(all)
	measured.Calls = len(all)
	measured.PerSecond = float64(len(all)) / end.Sub(start).Seconds()
	if len(all) > 0 {
		measured.P50 = milliseconds(all[len(all)/2])
		measured.P99 = milliseconds(all[len(all)*99/100])
	}
	return measured, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
