package webhook_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	stripehook "github.com/stripe/stripe-go/v76/webhook"
	svix "github.com/svix/svix-webhooks/go"

	"github.com/usher-dev/usher/internal/webhook"
)

// What senders' own libraries sign, verifies.

// bodies are what a library must not change on its way into the signature.
var bodies = []string{
	`{"id":"evt_1","email":"ada@example.com"}`, `[]`, `{ "a" : 1.0 }`, "{\"name\":\"Ada é 漢 \U0001F600\"}", "{\"a\":\"\\u00e9\\n\"}\n", "hello-world", `{"a":"{ts}{body}"}`,
}

// fresh makes a secret of 32 random bytes as Standard Webhooks writes one.
func fresh() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return "whsec_" + base64.StdEncoding.EncodeToString(key)
}

// A signer is somebody's library.
type signer struct {
	name    string
	presets []string // whose senders use it
	sign    func(t *testing.T, secret, id string, at time.Time, body string) http.Header
}

// standardHeaders are the three of Standard Webhooks, of either family.
func standardHeaders(family, id string, at time.Time, signature string) http.Header {
	header := http.Header{}
	header.Set(family+"-id", id)
	header.Set(family+"-timestamp", strconv.FormatInt(at.Unix(), 10))
	header.Set(family+"-signature", signature)
	return header
}

var signers = []signer{
	{name: "stripe-go", presets: []string{"stripe"}, sign: func(_ *testing.T, secret, _ string, at time.Time, body string) http.Header {
		signed := stripehook.GenerateTestSignedPayload(&stripehook.UnsignedPayload{Payload: []byte(body), Secret: secret, Timestamp: at})
		return http.Header{"Stripe-Signature": {signed.Header}}
	}},
	{name: "standard-webhooks", presets: []string{"standard-webhooks"}, sign: func(t *testing.T, secret, id string, at time.Time, body string) http.Header {
		return standardHeaders("webhook", id, at, signStandard(t, secret, id, at, body))
	}},
	{name: "standard-webhooks, with the whole text as the key", presets: []string{"polar"}, sign: func(t *testing.T, secret, id string, at time.Time, body string) http.Header {
		hook, err := standardwebhooks.NewWebhookRaw([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		signature, err := hook.Sign(id, at, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return standardHeaders("webhook", id, at, signature)
	}},
	{name: "standard-webhooks, to Polar", presets: []string{"polar"}, sign: func(t *testing.T, secret, id string, at time.Time, body string) http.Header {
		return standardHeaders("webhook", id, at, signStandard(t, secret, id, at, body))
	}},
	{name: "svix", presets: []string{"svix", "clerk"}, sign: func(t *testing.T, secret, id string, at time.Time, body string) http.Header {
		return standardHeaders("svix", id, at, signSvix(t, secret, id, at, body))
	}},
	{name: "svix, with the headers of Standard Webhooks", presets: []string{"standard-webhooks"}, sign: func(t *testing.T, secret, id string, at time.Time, body string) http.Header {
		return standardHeaders("webhook", id, at, signSvix(t, secret, id, at, body))
	}},
}

func signStandard(t *testing.T, secret, id string, at time.Time, body string) string {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := hook.Sign(id, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func signSvix(t *testing.T, secret, id string, at time.Time, body string) string {
	t.Helper()
	hook, err := svix.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := hook.Sign(id, at, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// presetSource is a source of a preset with these secrets.
func presetSource(t testing.TB, preset string, secrets ...string) *webhook.Source {
	t.Helper()
	p, ok := webhook.FindPreset(preset)
	if !ok {
		t.Fatalf("there is no preset %s", preset)
	}
	return newSource(t, webhook.Config{Name: "x", Row: p.Row, Secrets: secrets, PublicURL: sourceURL})
}

// rejects wants that a source takes a request for nobody's.
func rejects(t *testing.T, source *webhook.Source, now time.Time, r webhook.Request, what string) {
	t.Helper()
	if _, err := source.Verify(now, r); err == nil {
		t.Errorf("%s verifies", what)
	}
}

func TestWhatLibrariesSignVerifies(t *testing.T) {
	now := time.Now()
	for _, lib := range signers {
		for _, preset := range lib.presets {
			t.Run(lib.name+"/"+preset, func(t *testing.T) {
				secret, other := fresh(), fresh()
				source := presetSource(t, preset, secret)
				for i, body := range bodies {
					r := webhook.Request{Method: http.MethodPost, Header: lib.sign(t, secret, fmt.Sprintf("msg_%d", i), now, body), Body: []byte(body)}
					if _, err := source.Verify(now, r); err != nil {
						t.Errorf("%q: %v", body, err)
					}
					rejects(t, presetSource(t, preset, other), now, r, "another's signature")
					r.Body = append([]byte(body), ' ')
					rejects(t, source, now, r, "a longer body")
					r.Body = []byte(body)
					p, _ := webhook.FindPreset(preset)
					rejects(t, source, now.Add(p.Row.Verify.Tolerance+2*time.Second), r, "an old request")
					rejects(t, source, now.Add(-p.Row.Verify.Tolerance-2*time.Second), r, "a request of the future")
					// stripe-go 76, standard-webhooks 0.0.1 and svix 1.44 all take what was signed with nothing.
					for _, empty := range []string{"", "whsec_"} {
						r.Header = lib.sign(t, empty, "msg_1", now, body)
						rejects(t, source, now, r, "what was signed with an empty secret")
					}
				}
			})
		}
	}
}

// A sender that rotates its secret signs with both for a while, and so may we know both.
func TestSecretsRotate(t *testing.T) {
	now := time.Now()
	for _, lib := range signers {
		for _, preset := range lib.presets {
			t.Run(lib.name+"/"+preset, func(t *testing.T) {
				old, renewed := fresh(), fresh()
				body := bodies[0]
				byOld, byNew := lib.sign(t, old, "msg_1", now, body), lib.sign(t, renewed, "msg_1", now, body)
				both := byNew.Clone()
				for name, values := range byOld {
					if !strings.Contains(name, "Signature") {
						continue
					}
					if preset == "stripe" {
						_, mac, _ := strings.Cut(values[0], ",")
						both.Set(name, byNew.Get(name)+","+mac)
					} else {
						both.Set(name, byNew.Get(name)+" "+values[0])
					}
				}
				for _, tt := range []struct {
					name    string
					secrets []string
					header  http.Header
					by      string // empty: refused
				}{
					{name: "the old alone", secrets: []string{old}, header: byOld, by: "secrets[0]"},
					{name: "we know both, the old signs", secrets: []string{renewed, old}, header: byOld, by: "secrets[1]"},
					{name: "we know both, the new signs", secrets: []string{renewed, old}, header: byNew, by: "secrets[0]"},
					{name: "both sign, we know both", secrets: []string{renewed, old}, header: both, by: "secrets[0]"},
					{name: "both sign, we know the old", secrets: []string{old}, header: both, by: "secrets[0]"},
					{name: "both sign, we know the new", secrets: []string{renewed}, header: both, by: "secrets[0]"},
					{name: "the old signs and is gone", secrets: []string{renewed}, header: byOld},
					{name: "the new signs and is not known yet", secrets: []string{old}, header: byNew},
				} {
					verified, err := presetSource(t, preset, tt.secrets...).Verify(now, webhook.Request{Method: "POST", Header: tt.header, Body: []byte(body)})
					if verified.By() != tt.by || (err == nil) != (tt.by != "") {
						t.Errorf("%s: by %q (%v), wants %q", tt.name, verified.By(), err, tt.by)
					}
				}
			})
		}
	}
}

// The same requests pass the libraries' own verifiers, so that the test signs as they mean it.
func TestTheLibrariesTakeWhatTheySign(t *testing.T) {
	secret, now, body := fresh(), time.Now(), bodies[0]
	for _, lib := range signers {
		if lib.presets[0] == "stripe" || lib.presets[0] == "polar" {
			continue
		}
		hook, err := svix.NewWebhook(secret) // reads both families of headers
		if err != nil {
			t.Fatal(err)
		}
		if err := hook.Verify([]byte(body), lib.sign(t, secret, "msg_1", now, body)); err != nil {
			t.Errorf("%s: %v", lib.name, err)
		}
	}
}

// A nodeRequest is what testdata/node/sign.mjs is to sign.
type nodeRequest struct {
	Library string `json:"library"`
	Secret  string `json:"secret"`
	ID      string `json:"id"`
	At      int64  `json:"at"` // milliseconds
	Method  string `json:"method"`
	URL     string `json:"url"`
	Body    string `json:"body"`
}

// nodePresets are the presets whose senders use the libraries that sign.mjs knows.
var nodePresets = map[string]string{
	"stripe": "stripe", "svix": "svix", "octokit": "github", "hubspot": "hubspot", "hubspot-v2": "hubspot-v2", "hubspot-v1": "hubspot-v1",
}

func TestWhatNodeLibrariesSignVerifies(t *testing.T) {
	now := time.Now().Truncate(time.Millisecond)
	var wanted []nodeRequest
	for library := range nodePresets {
		for i, body := range bodies {
			r := nodeRequest{Library: library, Secret: fresh(), ID: fmt.Sprintf("msg_%d", i), At: now.UnixMilli(), Method: "POST", URL: sourceURL, Body: body}
			wanted = append(wanted, r)
			r.URL += "?portal=1&q=a%20b" // escapes are decoded by HubSpot itself, not by its library
			wanted = append(wanted, r)
			if strings.HasPrefix(library, "hubspot") {
				r.Method, r.Body = "GET", ""
				wanted = append(wanted, r)
			}
		}
	}
	signed := signWithNode(t, wanted)
	for i, r := range wanted {
		header, request := http.Header{}, webhook.Request{Method: r.Method, Body: []byte(r.Body)}
		for name, value := range signed[i] {
			header.Set(name, value)
		}
		request.Header = header
		_, request.Query, _ = strings.Cut(r.URL, "?")
		what := fmt.Sprintf("%s of %s %s %q", r.Library, r.Method, r.URL, r.Body)
		source := presetSource(t, nodePresets[r.Library], fresh(), r.Secret)
		if verified, err := source.Verify(now, request); err != nil || verified.By() != "secrets[1]" {
			t.Errorf("%s: by %q, %v", what, verified.By(), err)
		}
		rejects(t, presetSource(t, nodePresets[r.Library], fresh()), now, request, what+" by another secret")
		request.Body = append(request.Body, ' ')
		rejects(t, source, now, request, what+" with a longer body")
		if p, _ := webhook.FindPreset(nodePresets[r.Library]); p.Row.Verify.Tolerance > 0 {
			request.Body = []byte(r.Body)
			rejects(t, source, now.Add(p.Row.Verify.Tolerance+2*time.Second), request, what+" when it is old")
			rejects(t, source, now.Add(-p.Row.Verify.Tolerance-2*time.Second), request, what+" before its time")
		}
	}
}

// signWithNode runs sign.mjs once, for all requests, with the packages that scripts/need.sh installs.
func signWithNode(t *testing.T, wanted []nodeRequest) (signed []map[string]string) {
	t.Helper()
	folder := nodeFolder(t)
	script, err := os.ReadFile(filepath.Join("testdata", "node", "sign.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	input, err := json.Marshal(wanted)
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), "node", "--input-type=module", "--eval", string(script))
	var complaints bytes.Buffer
	node.Dir, node.Stdin, node.Stderr = folder, bytes.NewReader(input), &complaints // where the packages are found
	output, err := node.Output()
	if err != nil {
		t.Fatalf("node: %v\n%s", err, complaints.String())
	}
	if err := json.Unmarshal(output, &signed); err != nil || len(signed) != len(wanted) {
		t.Fatalf("node signed %d of %d: %v\n%s", len(signed), len(wanted), err, complaints.String())
	}
	return signed
}

// nodeFolder is where scripts/need.sh installed the packages. In CI they must be there.
func nodeFolder(t *testing.T) string {
	t.Helper()
	folder := filepath.Join("..", "..", "bin", "node")
	want, err := os.ReadFile(filepath.Join("testdata", "node", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	installed, _ := os.ReadFile(filepath.Join(folder, "installed")) // absent, it is not the same either
	_, err = exec.LookPath("node")
	if err == nil && bytes.Equal(installed, want) {
		return folder
	}
	const missing = `the senders' Node libraries are not installed: run "scripts/need.sh node"`
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}
