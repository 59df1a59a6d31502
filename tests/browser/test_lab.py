"""What `make lab` and `liveavatar lab` open."""

UNSAVED = {"docmanager-extension/plugin": {"autosave": False}}
OPEN = "(path) => globalThis.jupyterapp?.shell?.currentWidget?.context?.path === path"
TOASTS = "jupyterapp.restored.then(() => document.querySelectorAll('.Toastify__toast').length)"
LINK = """(target) => [...document.querySelectorAll('.jp-RenderedMarkdown a')].some(
    (link) => decodeURIComponent(link.href).includes('/files/' + target))"""

TRUSTED = """async () => {
    const book = jupyterapp.shell.currentWidget;
    await book.context.ready;
    return [...book.content.model.cells].filter((cell) => cell.type === 'code').every((cell) => cell.trusted);
}"""


def test_the_workbench_is_open_nothing_pops_up_and_links_to_the_docs_are_found(new_page, serve, tmp_path):
    with serve(["liveavatar", "lab", "--"], tmp_path, tmp_path, UNSAVED) as server:
        page = new_page
        page.goto(f"{server['base']}/?token={server['token']}")
        page.wait_for_function(OPEN, arg="notebooks/00_workbench.ipynb")
        assert page.evaluate(TRUSTED)                    # else its views are gone when the page is reloaded
        page.evaluate("jupyterapp.commands.execute('docmanager:open', {path: 'notebooks/16_real_model.ipynb'})")
        page.wait_for_function(LINK, arg="docs/released-model.md")
        assert page.request.get(f"{server['base']}/files/docs/released-model.md",
                                headers={"Authorization": f"token {server['token']}"}).ok
        assert page.evaluate(TOASTS) == 0
        page.goto("about:blank")
