// The page of serve at /: a completion as it streams, each token with its probability; and what is near a
// text.
#pragma once

inline constexpr const char* kServePage = R"html(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>attend</title>
<style>:root{color-scheme:light dark;--fg:#1d2330;--bg:#fff;--line:#b9c0cd;--ink:29,78,160}
@media(prefers-color-scheme:dark){:root{--fg:#e4e8f0;--bg:#14171d;--line:#475063;--ink:120,170,255}}
body{font:16px/1.6 system-ui,sans-serif;color:var(--fg);background:var(--bg);margin:1.5rem auto;max-width:760px;padding:0 1rem}
textarea,input,button{font:inherit;color:inherit;background:var(--bg);border:1px solid var(--line);border-radius:5px;padding:.3rem .5rem}textarea{width:100%;box-sizing:border-box}
#out{white-space:pre-wrap;min-height:3em}#out span{border-radius:3px}.key{font-size:13px}</style></head><body>
<h1>attend</h1><p class="key"><label>API key, where one is needed <input id="key" size="16"></label></p>
<h2>Continue a text</h2><label for="prompt">Text</label><textarea id="prompt" rows="4">Once upon a time</textarea>
<p><button id="go">Continue</button> <button id="stop" disabled>Stop</button> <label>tokens <input id="most" type="number" value="60" min="1" style="width:5em"></label> <label>temperature <input id="heat" type="number" value="0" min="0" step="0.1" style="width:5em"></label></p>
<div id="out" aria-live="polite"></div><p id="tip" role="status"></p>
<h2>What is near a text</h2><label for="query">Text</label><input id="query" size="40" value="a cat sleeps"><label for="lines"><br>Lines to compare with it</label>
<textarea id="lines" rows="4">the kitten is napping
stock markets fell
a dog runs in the park</textarea><p><button id="near">Compare</button></p><ol id="list"></ol>
<script>"use strict";
const $=id=>document.getElementById(id),post=(path,body,signal)=>fetch(path,{method:"POST",signal,headers:{"Content-Type":"application/json",...($("key").value?{Authorization:"Bearer "+$("key").value}:{})},body:JSON.stringify(body)});
const failed=async r=>{const t=await r.text();try{return JSON.parse(t).error.message}catch{return r.status+" "+r.statusText}};
let running=null;
function token(t,logprob,top){const s=document.createElement("span"),p=Math.exp(logprob);s.textContent=t;s.style.background="rgba(var(--ink),"+(.55*(1-p)).toFixed(2)+")";
 s.title=(100*p).toFixed(1)+" %";s.onmouseenter=()=>$("tip").textContent=JSON.stringify(t)+" "+s.title+(top?": likeliest "+Object.entries(top).map(([k,v])=>JSON.stringify(k)+" "+(100*Math.exp(v)).toFixed(1)+" %").join(", "):"");$("out").append(s)}
$("go").onclick=async()=>{running=new AbortController();$("go").disabled=true;$("stop").disabled=false;$("out").textContent=$("prompt").value;$("tip").textContent="";
 try{const r=await post("/v1/completions",{prompt:$("prompt").value,max_tokens:+$("most").value,temperature:+$("heat").value,stream:true,logprobs:3},running.signal);
  if(!r.ok)throw new Error(await failed(r));
  const reader=r.body.pipeThrough(new TextDecoderStream()).getReader();let held="";
  for(;;){const {value,done}=await reader.read();if(done)break;held+=value;const events=held.split("\n\n");held=events.pop();
   for(const e of events){if(!e.startsWith("data: ")||e==="data: [DONE]")continue;const d=JSON.parse(e.slice(6));if(d.error)throw new Error(d.error.message);
    const c=d.choices[0];if(c&&c.logprobs)c.logprobs.tokens.forEach((t,i)=>token(t,c.logprobs.token_logprobs[i],c.logprobs.top_logprobs[i]))}}
 }catch(e){if(e.name!=="AbortError")$("tip").textContent=e.message}finally{$("go").disabled=false;$("stop").disabled=true}};
$("stop").onclick=()=>running.abort();
$("near").onclick=async()=>{const lines=$("lines").value.split("\n").filter(x=>x.trim()),r=await post("/v1/embeddings",{input:[$("query").value,...lines]});
 $("list").replaceChildren();if(!r.ok){$("tip").textContent=await failed(r);return}
 const v=(await r.json()).data.map(d=>d.embedding),dot=(a,b)=>a.reduce((s,x,i)=>s+x*b[i],0),alike=i=>dot(v[0],v[i])/Math.sqrt(dot(v[0],v[0])*dot(v[i],v[i]));
 lines.map((t,i)=>[alike(i+1),t]).sort((a,b)=>b[0]-a[0]).forEach(([s,t])=>{const li=document.createElement("li");li.textContent=s.toFixed(3)+"  "+t;$("list").append(li)})};
</script></body></html>
)html";
