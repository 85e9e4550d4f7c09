const main = document.getElementById("operations");
const element = (name, text, parent) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  parent?.append(made);
  return made;
};
const resolve = (schema, schemas) => {
  const name = schema?.$ref?.split("/").pop();
  return name ? { [name]: schemas[name] } : schema;
};
fetch("openapi.json").then(answer => answer.json()).then(api => {
  main.textContent = "";
  document.title = document.getElementById("title").textContent = api.info.title;
  const schemas = api.components?.schemas ?? {};
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const details = element("details", undefined, main);
      const summary = element("summary", undefined, details);
      element("span", method.toUpperCase(), summary).className = "method";
      element("code", path, summary);
      summary.append(" " + (operation.summary ?? ""));
      if (operation.description) element("p", operation.description, details);
      if (operation.parameters?.length) {
        const table = element("table", undefined, details);
        for (const parameter of operation.parameters) {
          const row = element("tr", undefined, table);
          element("code", parameter.name, element("td", undefined, row));
          element("td", parameter.in, row);
          element("td", parameter.description ?? "", row);
        }
      }
      const body = operation.requestBody?.content?.["application/json"]?.schema;
      if (body) element("pre", JSON.stringify(resolve(body, schemas), null, 2), details);
      const table = element("table", undefined, details);
      for (const [status, response] of Object.entries(operation.responses ?? {})) {
        const row = element("tr", undefined, table);
        element("th", status, row);
        element("td", response.description, row);
      }
    }
  }
}).catch(error => { main.textContent = "openapi.json could not be read: " + error; });
