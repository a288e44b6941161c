package keysrc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"filippo.io/age"

	"pullnode/keysrc"
)

// lockedBuffer is a log that connections write to at once.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

type rig struct {
	client keysrc.Client
	agent  *keysrc.Agent
	log    *lockedBuffer
	stop   func() error // and wait for Serve
}

func startAgent(t *testing.T, keys fetchFunc) rig {
	t.Helper()
	return startAgentWith(t, &keysrc.Agent{Keys: keys})
}

func startAgentWith(t *testing.T, a *keysrc.Agent) rig {
	t.Helper()
	path := filepath.Join(t.TempDir(), "age.sock")
	l, err := keysrc.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	log := &lockedBuffer{}
	a.OwnUser, a.Log = true, slog.New(slog.NewTextHandler(log, nil))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Serve(ctx, l) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { stop() })
	return rig{keysrc.Client{Path: path}, a, log, stop}
}

type fetchFunc func(context.Context) (*keysrc.Key, error)

func (f fetchFunc) Fetch(ctx context.Context) (*keysrc.Key, error) { return f(ctx) }

func TestAgent(t *testing.T) {
	id, other := newIdentity(t), newIdentity(t)
	me, you := id.Recipient().String(), other.Recipient().String()
	path := filepath.Join(t.TempDir(), "k")
	write(t, path, []byte(id.String()), 0o600)
	chain := keysrc.Chain{Recipient: me, Sources: []keysrc.Source{open(t, map[string]any{"type": "file", "path": path})}}
	var fetched atomic.Int32
	r := startAgent(t, func(ctx context.Context) (*keysrc.Key, error) { fetched.Add(1); return chain.Fetch(ctx) })
	if fetched.Load() != 0 {
		t.Error("took the key before anybody asked")
	}

	// Real files by the age CLI, from several clients at once.
	var wg sync.WaitGroup
	for i := range 20 {
		text := fmt.Sprint("secret ", i)
		sealed := ageCLI(t, text, you, me)
		wg.Go(func() {
			out, err := age.Decrypt(bytes.NewReader(sealed), r.client.Identity(t.Context()))
			if err != nil {
				t.Error(err)
				return
			}
			if got, err := io.ReadAll(out); err != nil || string(got) != text {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	wg.Wait()
	if n := fetched.Load(); n != 1 {
		t.Errorf("searched for the key %d times", n)
	}

	_, err := age.Decrypt(bytes.NewReader(ageCLI(t, "x", you)), r.client.Identity(t.Context()))
	var none *age.NoIdentityMatchError
	if !errors.As(err, &none) {
		t.Errorf("another's file: %v", err)
	}

	var files []keysrc.Meta
	for i, to := range []string{me, you} {
		m, err := keysrc.ReadMeta(fmt.Sprint("f", i), toYAML(sopsFile{groups: [][]string{{to}}}.tree(t), 4, 4))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, m)
	}
	results, recipients, err := r.client.Preflight(t.Context(), files)
	if err != nil || len(recipients) != 1 || recipients[0] != me {
		t.Fatalf("preflight: %v, recipients %v", err, recipients)
	}
	err = keysrc.Judge(recipients, results)
	var bad *keysrc.PreflightError
	if !errors.As(err, &bad) || len(bad.Bad) != 1 {
		t.Fatalf("judged %v", err)
	}
	wantErr(t, err, "this host's key ("+me+")\nf1: is not encrypted for this host; it is for "+you)

	// Held: the medium may go. Released: it is needed again.
	os.Remove(path)
	if _, _, err := r.client.Preflight(t.Context(), nil); err != nil {
		t.Errorf("does not hold the key: %v", err)
	}
	r.agent.Release()
	_, _, err = r.client.Preflight(t.Context(), nil)
	if !errors.Is(err, keysrc.ErrAbsent) {
		t.Errorf("after release: %v", err)
	}
	wantErr(t, err, "key agent: no key: file:"+path+": absent: no such file")
	write(t, path, []byte(id.String()), 0o600)
	if _, _, err := r.client.Preflight(t.Context(), nil); err != nil {
		t.Errorf("a medium that came back: %v", err)
	}
	write(t, path, []byte(other.String()), 0o600)
	r.agent.Release()
	if _, _, err = r.client.Preflight(t.Context(), nil); !errors.Is(err, keysrc.ErrWrongKey) {
		t.Errorf("a swapped medium: %v", err)
	}

	if err := r.stop(); err != nil {
		t.Errorf("serve: %v", err)
	}
	for _, want := range []string{"acquired the key", "source=file:" + path, "msg=unwrap", "msg=preflight", fmt.Sprint("pid=", os.Getpid())} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log has no %q", want)
		}
	}
	if strings.Contains(r.log.String(), "SECRET-KEY") {
		t.Error("the log has the key")
	}
	if _, _, err := r.client.Preflight(t.Context(), nil); err == nil {
		t.Error("still serves")
	}
}

func TestAgentWipesWhenStopped(t *testing.T) {
	key := newKey(t)
	r := startAgent(t, gives(key, nil))
	if _, _, err := r.client.Preflight(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := key.Identities()[0].Unwrap(nil); err == nil || !strings.Contains(err.Error(), "wiped") {
		t.Errorf("still holds the key: %v", err)
	}
}

// A source that hangs must keep neither the process from stopping nor the
// client from giving up.
func TestAgentStopsWhileASourceHangs(t *testing.T) {
	entered := make(chan struct{}, 8)
	r := startAgent(t, func(ctx context.Context) (*keysrc.Key, error) {
		entered <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 2)
	for _, ctx := range []context.Context{ctx, t.Context()} {
		go func() { _, _, err := r.client.Preflight(ctx, nil); got <- err }()
	}
	<-entered
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("the client that gave up: %v", err)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if err := <-got; err == nil {
		t.Error("an answer from a stopped agent")
	}
}
