package fetch

import (
	"context"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// A server that talks on the kept connection while nobody asks loses it, and the
// next poll makes a new one.
func TestIdleFlood(t *testing.T) {
	ended := make(chan struct{}, 100)
	url, auth := serveSSH(t, sshHost{u: upload{tip: noTip}, in: func(c *ssh.ServerConn) {
		for {
			if _, _, err := c.SendRequest("x", false, []byte(strings.Repeat("x", 1000))); err != nil {
				ended <- struct{}{}
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}})
	secret, err := auth.Load()
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, url, func(o *Options) { o.Secret = secret })
	for range 2 {
		if tip, err := c.Tip(context.Background(), "main"); err != nil || tip != noTip {
			t.Fatalf("tip %s, %v", tip, err)
		}
		select {
		case <-ended:
		case <-time.After(2 * time.Minute):
			t.Fatal("the connection is still there")
		}
	}
}
