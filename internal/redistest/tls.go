package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TLS is what a server behind TLS and its clients need.
type TLS struct {
	// Addr is where the server speaks TLS, and only to who has a certificate.
	Addr string
	// Client has the authority that signed the server's certificate, and a certificate of its
	// own; Stranger has the authority alone.
	Client, Stranger *tls.Config
	// CA, Cert and Key are the files of what Client has.
	CA, Cert, Key string
}

// StartTLS starts a server that speaks TLS beside its usual port, with a certificate for
// 127.0.0.1 of an authority that this test made up.
func StartTLS(t testing.TB, args ...string) (*Server, *TLS) {
	t.Helper()
	ca := newAuthority(t)
	dir, port := t.TempDir(), freePort(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	ca.issue(t, file("server.crt"), file("server.key"))
	ca.issue(t, file("client.crt"), file("client.key"))
	writePEM(t, file("ca.crt"), "CERTIFICATE", ca.cert.Raw)
	pair, err := tls.LoadX509KeyPair(file("client.crt"), file("client.key"))
	if err != nil {
		t.Fatalf("load the client's certificate: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	stranger := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	client := stranger.Clone()
	client.Certificates = []tls.Certificate{pair}
	s := Start(t, append([]string{"--tls-port", strconv.Itoa(port), "--tls-auth-clients", "yes", "--tls-ca-cert-file", file("ca.crt"),
		"--tls-cert-file", file("server.crt"), "--tls-key-file", file("server.key")}, args...)...)
	return s, &TLS{
		Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Client: client, Stranger: stranger,
		CA: file("ca.crt"), Cert: file("client.crt"), Key: file("client.key"),
	}
}

// URL is the address as redis.ParseURL takes it.
func (s *TLS) URL() string { return "rediss://" + s.Addr + "/0" }

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	template := certificate("slipstream test authority", 1)
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatalf("make an authority: %v", err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatalf("read the authority: %v", err)
	}
	return &authority{cert, key}
}

func (a *authority) issue(t testing.TB, certFile, keyFile string) {
	t.Helper()
	template := certificate("slipstream test", 2)
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatalf("issue a certificate: %v", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatalf("encode a key: %v", err)
	}
	writePEM(t, certFile, "CERTIFICATE", raw)
	writePEM(t, keyFile, "PRIVATE KEY", private)
}

func certificate(name string, serial int64) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func writePEM(t testing.TB, file, kind string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		t.Fatalf("write %s: %v", file, err)
	}
}
