{%- set tier1_pillars = ['p1_volume_velocity', 'p2_network', 'p3_temporal', 'p4_typology', 'p5_profile'] -%}
with

weeks as (

    select as_of_date from {{ source('intermediate', 'requested_weeks') }}

),

pillars as (

    {% for pillar in tier1_pillars %}
    select
        client_id,
        '{{ pillar }}' as pillar,
        model_id,
        supervised_score,
        unsupervised_score,
        pillar_score,
        as_of_date
    from {{ source('tier1', 'tier1_' ~ pillar) }}
    where as_of_date in (select as_of_date from weeks)
    union all
    {% endfor %}
    select
        client_id,
        'p6_scheme' as pillar,
        model_id,
        supervised_score,
        null as unsupervised_score,
        scheme_score as pillar_score,
        as_of_date
    from {{ source('tier2', 'tier2_scheme') }}
    where as_of_date in (select as_of_date from weeks)

),

final as (

    select
        pillars.client_id,
        pillars.pillar,
        pillars.model_id,
        cast(pillars.pillar_score as double) as pillar_score,
        cast(pillars.supervised_score as double) as supervised_score,
        cast(pillars.unsupervised_score as double) as unsupervised_score,
        cast(contributions.contribution as double) as contribution_logodds,
        cast(pillars.as_of_date as date) as as_of_date
    from pillars
    left join {{ source('scores', 'pillar_contributions') }} as contributions
        using (client_id, as_of_date, pillar)

)

select * from final
