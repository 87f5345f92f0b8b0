// Sign-in where the service requires keys: the key becomes a cookie that scripts cannot read.
import { html, useState } from "../lib/preact.js";
import { Problem, request } from "../lib/api.js";
import { ProblemNotice } from "../components/feedback.js";
import { Icon } from "../components/icon.js";

export function SignIn({ onSignedIn }) {
  const [key, setKey] = useState("");
  const [problem, setProblem] = useState(/** @type {Problem | null} */ (null));
  const signIn = async (event) => {
    event.preventDefault();
    try {
      await request("v1/session", { method: "POST", json: { key } });
      setKey("");
      onSignedIn();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      setProblem(error);
    }
  };
  return html`<main id="main" class="sign-in" tabindex="-1">
    <form class="card" onSubmit=${signIn}>
      <h1><img src="ui/static/icon.svg" alt="" width="22" height="22" /> Candela</h1>
      <p>This service requires an API key.</p>
      <label class="field">API key <input type="password" required autocomplete="current-password" value=${key} onInput=${(event) => setKey(event.target.value)} /></label>
      ${problem && html`<${ProblemNotice} problem=${problem} />`}
      <button type="submit" class="primary"><${Icon} name="key" /> Sign in</button>
      <p class="dim">The key is exchanged for a cookie. It is not stored in this browser.</p>
    </form>
  </main>`;
}
