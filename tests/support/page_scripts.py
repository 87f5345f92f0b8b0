"""Scripts that run in a page of the dashboard and call its modules."""

# Stands for a dropped folder, which Playwright cannot drop: entries with the methods that the page uses.
ZIP_FOLDER = """
async (files) => {
  const {zipFiles} = await import("/ui/static/lib/zip.js");
  const makeFile = (name, text) => ({name, isDirectory: false, file: (done) => done(new File([text], name))});
  const makeFolder = (name, entries) => ({
    name, isDirectory: true,
    createReader: () => { let rest = entries; return {readEntries: (done) => { done(rest); rest = []; }}; },
  });
  const folders = Object.entries(files).map(([name, texts]) =>
    makeFolder(name, Object.entries(texts).map(([file, text]) => makeFile(file, text))));
  const archive = await zipFiles(makeFolder("set", folders));
  return [...new Uint8Array(await archive.arrayBuffer())];
}
"""

# Returns the elements that a Markdown text of a user becomes.
RENDER_MARKDOWN = """
async (text) => {
  const {Markdown} = await import("/ui/static/components/markdown.js");
  const {html, render} = await import("/ui/static/lib/preact.js");
  const box = document.createElement("div");
  render(html`<${Markdown} text=${text} />`, box);
  return box.innerHTML;
}
"""

# Converts search spaces to rows of the form and back.
PARSE_SPACE = """
async (spaces) => {
  const {buildSpace, toRows} = await import("/ui/static/lib/space.js");
  return spaces.map((space) => buildSpace(toRows(space)));
}
"""

# Answers two requests for the trials of a sweep in the wrong order, and returns the trial that the page shows.
OVERTAKE_TRIALS = """
async () => {
  const {html, render} = await import("/ui/static/lib/preact.js");
  const {useTrials} = await import("/ui/static/lib/sweep_trials.js");
  const answers = [], original = window.fetch;
  const build = (number) => Response.json({items: [{number}], next_cursor: null});
  window.fetch = (path, init) => String(path).includes("v1/sweeps/overtaken/trials")
    ? new Promise((resolve) => answers.push((number) => resolve(build(number)))) : original(path, init);
  const until = async (test) => { while (!test()) await new Promise((done) => setTimeout(done, 10)); };
  const box = document.createElement("div");
  const View = ({revision}) => {
    const {value = []} = useTrials({id: "overtaken", revision});
    return html`<b>${value.map((trial) => trial.number).join()}</b>`;
  };
  for (const revision of [1, 2]) {
    render(html`<${View} revision=${revision} />`, box);
    await until(() => answers.length === revision);
  }
  answers[1](2);
  await until(() => box.textContent === "2");
  answers[0](1);
  await new Promise((done) => setTimeout(done, 100));
  window.fetch = original;
  return box.textContent;
}
"""
