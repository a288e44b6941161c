package keysrctest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"
)

// SoftTPM is swtpm, a software TPM 2.0, on a socket. Nothing manages its three
// object slots: an object that is not flushed makes later commands fail.
type SoftTPM struct {
	State  string // directory of what the TPM remembers
	Socket string // its path, the "device" of a key source
	cmd    *exec.Cmd
}

// StartTPM starts one, with nothing in it, that ends with the test.
func StartTPM(t *testing.T) *SoftTPM {
	t.Helper()
	// Not t.TempDir: a socket's path may have 107 bytes.
	dir, err := os.MkdirTemp("", "tpm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &SoftTPM{State: dir, Socket: filepath.Join(dir, "s")}
	s.Start(t)
	t.Cleanup(s.Stop)
	return s
}

// Start starts it after Stop, which is a reset of the machine: PCRs begin anew,
// the seeds stay.
func (s *SoftTPM) Start(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		t.Fatal("this test needs swtpm: apt-get install swtpm")
	}
	var log bytes.Buffer
	s.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+s.State,
		"--server", "type=unixio,path="+s.Socket, "--ctrl", "type=unixio,path="+s.Socket+".ctrl",
		"--flags", "not-need-init,startup-clear")
	s.cmd.Stdout, s.cmd.Stderr = &log, &log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if err := s.try(func(tpm transport.TPM) error {
			_, err := tpm2.GetRandom{BytesRequested: 8}.Execute(tpm)
			return err
		}); err == nil {
			return
		} else if time.Now().After(deadline) {
			s.Stop()
			t.Fatalf("swtpm does not answer: %v\n%s", err, log.String())
		}
	}
}

// Stop takes the TPM away.
func (s *SoftTPM) Stop() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		s.cmd.Wait()
		s.cmd = nil
	}
	os.Remove(s.Socket)
}

func (s *SoftTPM) try(f func(transport.TPM) error) error {
	tpm, err := linuxudstpm.Open(s.Socket)
	if err != nil {
		return err
	}
	defer tpm.Close()
	return f(tpm)
}

// Extend changes a PCR as firmware does that measures something.
func (s *SoftTPM) Extend(t *testing.T, pcr int) {
	t.Helper()
	err := s.try(func(tpm transport.TPM) error {
		_, err := tpm2.PCRExtend{
			PCRHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(pcr), Auth: tpm2.PasswordAuth(nil)},
			Digests:   tpm2.TPMLDigestValues{Digests: []tpm2.TPMTHA{{HashAlg: tpm2.TPMAlgSHA256, Digest: bytes.Repeat([]byte{1}, 32)}}},
		}.Execute(tpm)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Clear is what an owner's "clear TPM" in the firmware does.
func (s *SoftTPM) Clear(t *testing.T) {
	t.Helper()
	err := s.try(func(tpm transport.TPM) error {
		_, err := tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}.Execute(tpm)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Loaded gives the number of objects and sessions that were left in the TPM.
func (s *SoftTPM) Loaded(t *testing.T) (n int) {
	t.Helper()
	err := s.try(func(tpm transport.TPM) error {
		for _, first := range []uint32{0x80000000, 0x02000000, 0x03000000} {
			got, err := tpm2.GetCapability{Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 16}.Execute(tpm)
			if err != nil {
				return err
			}
			handles, err := got.CapabilityData.Data.Handles()
			if err != nil {
				return err
			}
			n += len(handles.Handle)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Running tells whether it is there.
func (s *SoftTPM) Running() bool { return s.cmd != nil }
