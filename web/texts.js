import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

/** @type {Record<string, any>} by languages */
let texts = {};

/** Fetches the texts of all languages: `histogramMatch` in `locales/<language>/main.json`. */
export async function loadTexts() {
  const answer = await api.fetchApi("/i18n");
  texts = await answer.json();
}

/**
 * @param {string} key with dots between names
 * @param {(string | number)[]} values in place of %1, %2, …
 * @returns {string | undefined} in the language of the page, else in English
 */
export function text(key, ...values) {
  const language = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
  const find = (/** @type {any} */ messages) => key.split(".").reduce((found, name) => found?.[name], messages?.histogramMatch);
  const found = find(texts[language]) ?? find(texts.en);
  return found && values.reduce((/** @type {string} */ line, value, index) => line.replace(`%${index + 1}`, `${value}`), found);
}
