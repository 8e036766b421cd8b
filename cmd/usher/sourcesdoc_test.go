package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/usher-dev/usher/config"
	"github.com/usher-dev/usher/internal/webhook"
	"github.com/usher-dev/usher/internal/webhook/webhooktest"
)

var updateDocs = flag.Bool("update-docs", false, "write docs/sources.md anew")

// TestSourcesDoc holds docs/sources.md against the presets and the settings; testdata/sources.md.tmpl has what
// is written by hand.
func TestSourcesDoc(t *testing.T) {
	const doc, source = "../../docs/sources.md", "testdata/sources.md.tmpl"
	page, err := template.New("sources.md.tmpl").Funcs(template.FuncMap{
		"code": markCode, "cell": func(s string) string { return strings.ReplaceAll(s, "|", `\|`) },
		"keys": documentedKeys, "examples": exampleTable, "exampleBody": func() string { return exampleBody },
		"all": webhook.Presets, "inc": func(i int) int { return i + 1 },
	}).ParseFiles(source)
	if err != nil {
		t.Fatal(err)
	}
	groups, err := documentedGroups()
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := page.Execute(&text, groups); err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`\n{3,}`).ReplaceAllString(text.String(), "\n\n")
	checkAnchors(t, want)
	checkSnippets(t, want)
	got, _ := os.ReadFile(doc)
	switch {
	case string(got) == want:
	case *updateDocs:
		if err := os.WriteFile(doc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("docs/sources.md is not what the presets say; mend it with: go test ./cmd/usher -run TestSourcesDoc -update-docs\n%s", firstDifference(string(got), want))
	}
}

// checkAnchors wants each link within the page to lead to one heading.
func checkAnchors(t *testing.T, page string) {
	t.Helper()
	headings := map[string]int{}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
		headings[anchor(heading[1])]++
	}
	for _, link := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(page, -1) {
		if headings[link[1]] != 1 {
			t.Errorf("the link #%s leads to %d headings", link[1], headings[link[1]])
		}
	}
}

// checkSnippets wants each piece of usher.yaml in the page to be one.
func checkSnippets(t *testing.T, page string) {
	t.Helper()
	env := []string{"RETOOL_URL=https://acme.retool.com", "RETOOL_API_TOKEN=retool_0123456789"}
	for _, name := range regexp.MustCompile(`\$\{([A-Z0-9_]+)\}`).FindAllStringSubmatch(page, -1) {
		env = append(env, name[1]+"="+strings.Repeat("0123456789abcdef", 4)) // also hex, base64 and a token
	}
	for _, snippet := range regexp.MustCompile("(?s)```yaml\n(.*?)\n```").FindAllStringSubmatch(page, -1) {
		o := config.Options{File: "usher.yaml", Env: env, ReadFile: func(string) ([]byte, error) { return []byte(snippet[1]), nil }}
		if _, problems := load(o, io.Discard); len(problems) > 0 {
			t.Errorf("%s\n%s", problems, snippet[1])
		}
	}
}

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	return strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading), ""), " ", "-")
}

type documentedGroup struct {
	Title   string
	Presets []documentedPreset
}

type documentedPreset struct {
	webhook.Preset
	Proof, Address, Retries, Anchor string
	Formula                         string // of what is signed
	Path                            string // of the source
	Short                           string // for usher.yaml
	ContentType, Headers            string // of the main sample
	Payload, PayloadKind            string
	CodeKind                        string
}

func documentedGroups() (groups []documentedGroup, err error) {
	for _, g := range presetGroups {
		group := documentedGroup{Title: g.title}
		for _, p := range webhook.Presets() {
			if p.About.Group != g.name {
				continue
			}
			address, err := addressOf(p)
			if err != nil {
				return nil, err
			}
			retries, _, _ := strings.Cut(p.About.OnFailure, ". ")
			d := documentedPreset{
				Preset: p, Proof: p.Row.Verify.Proof(), Formula: formulaOf(p.Row.Verify), Address: address, Retries: strings.TrimSuffix(retries, ".") + ".", Anchor: anchor(p.About.Title),
				Path: "/webhooks/" + p.Name, Short: strings.TrimSuffix(shortForm(p), "\n"), CodeKind: "json",
			}
			if p.Row.Verify.Kind == "path_token" {
				d.Path += "/TOKEN"
			}
			if strings.Contains(p.About.Code, "function") {
				d.CodeKind = "js"
			}
			if err := d.addPayload(); err != nil {
				return nil, fmt.Errorf("%s: %w", p.Name, err)
			}
			group.Presets = append(group.Presets, d)
		}
		groups = append(groups, group)
	}
	return groups, nil
}

// formulaOf is the header of a scheme and what its signature is made of.
func formulaOf(v webhook.Verify) string {
	switch v.Kind {
	case "stripe": // stripe-go's
		v = webhook.Verify{Header: "Stripe-Signature", Format: "kv", SigKey: "v1", TSKey: "t", Signed: "{ts}.{body}"}
	case "token":
		return "`" + v.Header + ": " + v.Prefix + "SECRET`."
	case "path_token":
		return "the address ends in `/SECRET`."
	}
	shape := v.Prefix + "SIGNATURE"
	switch v.Format {
	case "kv":
		separator := cmp.Or(v.PairSep, ",")
		shape = v.SigKey + "=" + shape
		if v.TSKey != "" {
			shape = v.TSKey + "={ts}" + separator + shape
		}
	case "list":
		shape = cmp.Or(v.SigKey, "v1") + "," + shape
	}
	algorithm := strings.ToUpper(cmp.Or(v.Algorithm, "sha256"))
	how := "HMAC-" + algorithm
	if v.Kind == "hash" {
		how = algorithm
	}
	text := fmt.Sprintf("`%s: %s`, the %s of `%s` in %s", v.Header, shape, how, strings.ReplaceAll(v.Signed, "\n", `\n`), cmp.Or(v.Encoding, "hex"))
	if v.Kind != "hash" {
		text += ". The key is " + keyOf(v)
	}
	unit := map[string]string{"": "seconds", "s": "seconds", "ms": "milliseconds", "rfc3339": "RFC 3339"}[v.TSUnit]
	switch {
	case v.TSHeader != "":
		text += fmt.Sprintf("; the time is in `%s`, in %s", v.TSHeader, unit)
	case v.TSKey != "":
		text += "; the time is in " + unit
	}
	if v.BodySelect != "" {
		text += "; of an array, only the first element is signed"
	}
	return text + "."
}

// keyOf says how a secret becomes the key.
func keyOf(v webhook.Verify) string {
	var ways []string
	for _, coding := range v.KeyCoding {
		switch {
		case coding == "raw":
			ways = append(ways, "the secret as it is")
		case v.KeyPrefix != "":
			ways = append(ways, "what follows `"+v.KeyPrefix+"` in the secret, decoded from "+coding)
		default:
			ways = append(ways, "the secret, decoded from "+coding)
		}
	}
	return cmp.Or(strings.Join(ways, ", or "), "the secret as it is")
}

// documentedKeys are the settings below a prefix and no deeper, without the names.
func documentedKeys(prefix string, except ...string) (keys []config.Key) {
	for _, key := range config.Keys() {
		name, ok := strings.CutPrefix(key.Path, prefix)
		if ok && !strings.Contains(name, ".") && !slices.Contains(except, name) {
			key.Path = name
			keys = append(keys, key)
		}
	}
	return keys
}

var docFill = webhooktest.Fill{
	Email: "ada@lovelace.example", Name: "Ada Lovelace", ID: "65f0c1d2a4b5e6f708192a3b", Number: "1618033988", Now: time.Date(2026, 11, 24, 9, 30, 0, 0, time.UTC),
}

// maxPayload is how many lines of a payload are shown.
const maxPayload = 40

// addPayload shows the main sample, without what nothing is read of where it is long.
func (d *documentedPreset) addPayload() error {
	header, body := stripeSample()
	if samples := webhooktest.Samples(d.Name); len(samples) > 0 {
		header, body = samples[0].Make(docFill)
	}
	d.ContentType, _, _ = strings.Cut(header.Get("Content-Type"), "; boundary")
	var headers []string
	for _, name := range []string{"X-Shopify-Topic", "X-Shopify-Webhook-Id", "X-WC-Webhook-Topic", "X-WC-Webhook-Delivery-ID", "X-GitHub-Event", "X-GitHub-Delivery", "webhook-id", "svix-id"} {
		if value := header.Get(name); value != "" {
			headers = append(headers, "`"+name+": "+value+"`")
		}
	}
	d.Headers = strings.Join(headers, ", ")
	kind, params, _ := mime.ParseMediaType(header.Get("Content-Type"))
	switch kind {
	case "application/x-www-form-urlencoded":
		d.PayloadKind, d.Payload = "text", formLines(string(body))
		return nil
	case "multipart/form-data":
		d.PayloadKind, d.Payload = "text", multipartLines(body, params["boundary"])
		return nil
	}
	var document yaml.Node // JSON is YAML, and a node keeps the order of keys
	if err := yaml.Unmarshal(body, &document); err != nil {
		return err
	}
	reads := regexp.MustCompile(`[A-Za-z_$][\w$-]*`).FindAllString(d.Source, -1)
	if d.Name == "stripe" { // whose events are read by code
		reads = strings.Fields("id type created livemode data object customer customer_details customer_email payment_status email name metadata currency amount_total")
	}
	d.PayloadKind = "json"
	text := jsonLines{all: true}.value(document.Content[0], "")
	if strings.Count(text, "\n") >= maxPayload {
		d.PayloadKind = "jsonc"
		text = jsonLines{words: reads}.value(document.Content[0], "")
	}
	if n := strings.Count(text, "\n"); n > maxPayload+5 {
		return fmt.Errorf("its payload has %d lines", n)
	}
	d.Payload = text
	return nil
}

func stripeSample() (http.Header, []byte) {
	event := webhooktest.StripeEvent{ID: "evt_" + docFill.ID, Email: docFill.Email, Name: docFill.Name, Created: docFill.Now}
	body := regexp.MustCompile(`cs_live_\w+`).ReplaceAll(event.JSON(), []byte("cs_live_"+docFill.ID))
	return http.Header{"Content-Type": {"application/json; charset=utf-8"}}, body
}

// jsonLines writes JSON, and comments where something is left out.
type jsonLines struct {
	words []string // keys that are read
	all   bool
}

func (j jsonLines) value(node *yaml.Node, indent string) string {
	opening, closing, step := "{", "}", 2
	switch node.Kind {
	case yaml.ScalarNode:
		if node.Tag != "!!str" {
			return node.Value
		}
		var quoted bytes.Buffer
		encoder := json.NewEncoder(&quoted)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(node.Value)
		return strings.TrimSpace(quoted.String())
	case yaml.SequenceNode:
		opening, closing, step = "[", "]", 1
	}
	if len(node.Content) == 0 {
		return opening + closing
	}
	var lines []string
	left := false
	for i := 0; i < len(node.Content); i += step {
		name, child := node.Content[i], node.Content[i+step-1]
		label := ""
		if step == 2 {
			label = j.value(name, "") + ": "
		}
		if !j.all && !j.matters(name, child, step) {
			left = true
			continue
		}
		lines = append(lines, label+j.value(child, indent+"  "))
	}
	if len(lines) == 0 {
		return opening + " /* … */ " + closing
	}
	if left {
		lines[len(lines)-1] += " // …"
	}
	for i, line := range lines[:len(lines)-1] {
		lines[i] = line + ","
	}
	return opening + "\n" + indent + "  " + strings.Join(lines, "\n"+indent+"  ") + "\n" + indent + closing
}

// matters says whether something is read of a value: by its key, or because it is the person's.
func (j jsonLines) matters(name, child *yaml.Node, step int) bool {
	if child.Kind == yaml.ScalarNode {
		return step == 2 && slices.Contains(j.words, name.Value) && child.Tag != "!!null" || strings.Contains(child.Value, docFill.Email)
	}
	inner := 1
	if child.Kind == yaml.MappingNode {
		inner = 2
	}
	for i := 0; i < len(child.Content); i += inner {
		if j.matters(child.Content[i], child.Content[i+inner-1], inner) {
			return step == 1 || slices.Contains(j.words, name.Value) || containsText(child, docFill.Email)
		}
	}
	return false
}

func containsText(node *yaml.Node, text string) bool {
	return strings.Contains(node.Value, text) || slices.ContainsFunc(node.Content, func(child *yaml.Node) bool { return containsText(child, text) })
}

func formLines(body string) string {
	var lines []string
	for field := range strings.SplitSeq(body, "&") {
		name, value, _ := strings.Cut(field, "=")
		name, _ = url.QueryUnescape(name)
		value, _ = url.QueryUnescape(value)
		lines = append(lines, name+" = "+value)
	}
	return strings.Join(lines, "\n")
}

func multipartLines(body []byte, boundary string) string {
	var lines []string
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := reader.NextPart()
		if err != nil {
			return strings.Join(lines, "\n")
		}
		if content, _ := io.ReadAll(part); len(content) > 0 {
			lines = append(lines, part.FormName()+" = "+string(content))
		}
	}
}

// markCode marks what is a word of code in a sentence: order.paid, STRIPE_SECRET, X-Signature.
func markCode(sentence string) string {
	parts := strings.Split(sentence, "`")
	for i := 0; i < len(parts); i += 2 { // the others are marked already
		parts[i] = codeWord.ReplaceAllStringFunc(parts[i], func(word string) string {
			core := strings.TrimRight(word, ".,;:")
			isCode := strings.Contains(core, "_") || strings.HasPrefix(core, "X-") || strings.HasPrefix(core, "$") ||
				dotted.MatchString(core) && !domain.MatchString(core)
			if !isCode || strings.Contains(core, "://") {
				return word
			}
			return "`" + core + "`" + word[len(core):]
		})
	}
	return strings.Join(parts, "`")
}

var (
	codeWord = regexp.MustCompile(`[^\s"()]+`)
	dotted   = regexp.MustCompile(`^[a-z][A-Za-z0-9]*(\.[A-Za-z*]+)+$`)
	domain   = regexp.MustCompile(`\.(com|io|dev|org|so|net|example)$`)
)

const exampleBody = `{
  "id": "ord_1", "type": "order.paid", "paid": true,
  "customer": {"email": "ada@example.com", "first": "Ada", "last": "Lovelace"},
  "items": [{"sku": "seat", "count": 5}, {"sku": "support", "count": 1}],
  "fields": [{"label": "Work email", "value": "ada@example.com"}],
  "extra": "{\"plan\": \"team\"}"
}`

// exampleExpressions are shown with what they give, worked out here.
var exampleExpressions = []string{
	`body.customer.email`,
	`body.contact.email`,
	`body.contact.email ?? body.customer.email`,
	`body["type"] == "order.paid" and body.paid == true`,
	`body.type startsWith "order." ? "order" : "other"`,
	`body.items[0].sku`,
	`body.items[9].sku`,
	`any(body.items ?? [], .sku == "seat" and .count > 1)`,
	`find(body.fields ?? [], .label == "Work email").value`,
	`join(filter([body.customer.first, body.customer.middle, body.customer.last], # != nil), " ")`,
	`let who = body.customer; who.first + " " + who.last`,
	`json(body.extra).plan`,
	`json(body.type)`,
	`key(body.type, body.id, body.version)`,
	`emailField(body.customer)`,
	`headers["X-Event"]`,
	`lower(body.customer.middle)`,
	`not body.refunded`,
}

func exampleTable() (string, error) {
	var b strings.Builder
	b.WriteString("| Expression | Gives |\n|---|---|\n")
	for _, x := range exampleExpressions {
		source, err := webhook.New(webhook.Config{Name: "example", AllowUnsigned: true, Row: webhook.Row{Verify: webhook.Verify{Kind: "none"}, Name: x}})
		if err != nil {
			return "", err
		}
		request := webhook.Request{Method: http.MethodPost, Header: http.Header{"X-Event": {"paid"}}, Body: []byte(exampleBody)}
		gives := ""
		source.Explain(source.Unsigned(docFill.Now, request), func(s webhook.Step) {
			value, _ := json.Marshal(s.Value)
			gives = "`" + strings.ReplaceAll(string(value), "null", "nil") + "`"
			if s.Err != nil {
				gives = "an error: " + s.Err.Error()
			}
		})
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.ReplaceAll(x, "|", `\|`), gives)
	}
	return b.String(), nil
}
