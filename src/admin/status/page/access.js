
// ---- the admin key, for this tab, and the actions on targets ----

const KEY = "sluice-admin-key";

function headers() {
  const key = sessionStorage.getItem(KEY);
  return key ? { authorization: `Bearer ${key}` } : {};
}

let asked;

// Opens the sign-in form and gives whether a key was entered. Callers at once share one form.
function askForKey() {
  asked ??= openKeyDialog().finally(() => { asked = undefined; });
  return asked;
}

function openKeyDialog() {
  const dialog = $("key-dialog");
  $("key").value = "";
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const isGiven = dialog.returnValue === "use" && $("key").value !== "";
      if (isGiven) sessionStorage.setItem(KEY, $("key").value);
      $("key").value = "";
      resolve(isGiven);
    }, { once: true });
  });
}

function forgetKey() {
  $("key-refused").hidden = sessionStorage.getItem(KEY) === null;
  sessionStorage.removeItem(KEY);
}

// Asks for the key until one is entered. A button opens a closed form again.
async function signIn() {
  showSilence("signed out", "closed", "the status page needs the admin key");
  const button = $("sign-in");
  while (!(await askForKey())) {
    button.hidden = false;
    await new Promise((resolve) => { button.addEventListener("click", resolve, { once: true }); });
    button.hidden = true;
  }
}

async function act(name, what) {
  const path = `/admin/targets/${encodeURIComponent(name)}/${what}`;
  try {
    let answer = await fetch(path, { method: "POST", headers: headers() });
    if (answer.status === 401) {
      forgetKey();
      if (await askForKey()) answer = await fetch(path, { method: "POST", headers: headers() });
    }
    trouble(answer.ok ? "" : `${name}: ${await messageOf(answer)}`);
  } catch (error) {
    trouble(`${name}: ${error.message}`);
  }
}

// What an error says of itself. One that a proxy made may have no JSON.
async function messageOf(answer) {
  const status = `the answer is HTTP ${answer.status}`;
  try {
    return textOf((await answer.json()).message) || status;
  } catch {
    return status;
  }
}

function trouble(text) {
  say($("trouble"), text);
  $("trouble").hidden = text === "";
}
